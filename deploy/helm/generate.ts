import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { chartValues, type Schema } from './chart-values.ts';

/**
 * Writes values.schema.json and README.md of the chart into the folder that is
 * named. What the sections of config.json may hold is taken from the JSON
 * Schemas of the node's files (deploy/schemas).
 */
const HERE = fileURLToPath(new URL('./', import.meta.url));
const SCHEMAS = join(HERE, '..', 'schemas');

/** Sections of config.json that do not follow from the cluster. */
const OWN_SECTIONS = [
  'uuid',
  'certificate_config',
  'hybridization_server_address',
  'qkd_address',
  'peer_local_address',
  'services',
  'health',
  '$schema',
];

/** What a section's members would name a file by, which in a pod the chart must have put there. */
const OF_FILES: Readonly<Record<string, readonly string[]>> = {
  logging_config: ['file_log_type', 'filename'],
  qkd: ['tls'],
};

type Members = { [name: string]: Schema };

const membersOf = (schema: Schema) => (schema.properties ?? {}) as Members;

function configSections(): Members {
  const sections = membersOf(read('config.schema.json'));
  return Object.fromEntries(
    Object.entries(sections)
      .filter(([name]) => !OWN_SECTIONS.includes(name))
      .map(([name, section]) => [
        name,
        { description: `section ${name} of config.json`, ...without(section, OF_FILES[name] ?? []) },
      ]),
  );
}

function without(section: Schema, names: readonly string[]): Schema {
  const members = Object.entries(membersOf(section)).filter(([name]) => !names.includes(name));
  return described({ ...section, properties: Object.fromEntries(members) });
}

/** Defaults are the node's to set: what values do not say, config.json does not say either. */
function described(schema: Schema, name = ''): Schema {
  const { default: preset, properties, items, ...rest } = schema;
  const meaning = rest.description ?? (name && `what ${name} has`);
  const told =
    preset === undefined || (typeof preset === 'object' && !Array.isArray(preset))
      ? ''
      : JSON.stringify(preset);
  const description = told === '' ? meaning : `${meaning} (default ${told})`;
  return {
    ...rest,
    ...(description && { description }),
    ...(properties !== undefined && { properties: membersDescribed(properties as Members) }),
    ...(items !== undefined && { items: described(items as Schema) }),
  };
}

function membersDescribed(members: Members): Members {
  return Object.fromEntries(Object.entries(members).map(([name, member]) => [name, described(member, name)]));
}

function peers(): Schema {
  const { patternProperties } = read('trusted_peers_info.schema.json');
  const entries = Object.entries(patternProperties as Members);
  return {
    type: 'object',
    description: 'other nodes by UUID, as in trusted_peers_info.json; changes are read by running pods',
    patternProperties: Object.fromEntries(
      entries.map(([pattern, entry]) => [pattern, described({ description: 'one of them', ...entry })]),
    ),
    additionalProperties: false,
  };
}

const read = (name: string) => JSON.parse(readFileSync(join(SCHEMAS, name), 'utf8')) as Schema;

/** A line for each value that has no members of its own. */
function rows(schema: Schema, defaults: unknown, path: string): string[] {
  const members = Object.entries(membersOf(schema));
  const isLeaf = members.length === 0 || path.endsWith('resources');
  if (path === 'global') return [];
  if (isLeaf && path !== '')
    return [`| \`${path}\` | ${String(schema.description).replaceAll('|', '\\|')} | ${told(defaults)} |`];
  return members.flatMap(([name, member]) =>
    rows(
      member,
      (defaults as Record<string, unknown> | undefined)?.[name],
      path === '' ? name : `${path}.${name}`,
    ),
  );
}

function told(value: unknown): string {
  if (value === undefined || value === '') return '–';
  return `\`${JSON.stringify(value)}\``;
}

function readme(schema: Schema, values: unknown): string {
  return `# The chart keyweave

One release is one node of a quantum network: five services, their Services, probes, budgets, policies and
certificates. How to install two, fetch a first key and operate them: \`docs/kubernetes.md\` of Keyweave.

Kubernetes 1.30 or newer, in namespaces that enforce the Pod Security level \`restricted\`. At the least:

\`\`\`yaml
node:
  uuid: aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa
peers:
  bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb:
    address: { host: bob-keyweave-peers.bob.svc, port: 3001 }
keyManager: { host: 10.20.30.40, port: 54000 }
\`\`\`

- A change of configuration replaces pods, one after the other; the old ones stay until the new ones are ready.
  Certificates, revocation lists and peers are read again by the pods that run.
- \`config\` takes the sections of \`config.json\` by their own names. Whatever else is misspelt or of a wrong type is refused
  with its path, by \`values.schema.json\`.

This page and \`values.schema.json\` are generated (\`make gen\`).

## Values

| Value | Meaning | Default |
| --- | --- | --- |
${rows(schema, values, '').join('\n')}
`;
}

const [folder = '.'] = process.argv.slice(2);
const schema = chartValues(configSections(), peers());
const values = parse(readFileSync(join(HERE, 'keyweave', 'values.yaml'), 'utf8'));
writeFileSync(join(folder, 'values.schema.json'), `${JSON.stringify(schema, undefined, 2)}\n`);
writeFileSync(join(folder, 'README.md'), readme(schema, values));
