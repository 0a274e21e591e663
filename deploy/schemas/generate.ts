import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { trustedPeersSchema } from '#common/config/trusted-peers.ts';

/**
 * Writes the JSON Schemas of a node's two files into the folder that is named:
 * for editors, which complete and check by them. Structure and defaults are
 * those of the schemas that the node itself reads with; what a key means is
 * what the README's table says of it, so that a key that is missing there is
 * found here.
 */
type Json = { [key: string]: unknown };

const README = fileURLToPath(new URL('../../README.md', import.meta.url));

/** A row of the table: keys, meaning, default. */
const ROW = /^\| (`.+?`(?:, `.+?`)*) \| (.+) \| .* \|$/;

/** Editors know this one best. */
const OPTIONS = { io: 'input', target: 'draft-7' } as const;

/** Lets a file name its schema. */
const OWN_SCHEMA = { type: 'string', description: 'Where this schema is, for editors.' };

function configSchema(): Json {
  const { $schema, ...schema } = z.toJSONSchema(nodeConfigSchema, OPTIONS) as Json;
  const meanings = meaningsIn(readFileSync(README, 'utf8'));
  const missing = describe(schema, '', meanings);
  if (missing.length > 0) throw new Error(`the README's table lacks ${missing.join(', ')}`);
  const properties = { $schema: OWN_SCHEMA, ...(schema.properties as Json) };
  return { $schema, title: 'config.json of a node of Keyweave', ...schema, properties };
}

function peersSchema(): Json {
  const { $schema, propertyNames, additionalProperties, ...schema } = z.toJSONSchema(
    trustedPeersSchema,
    OPTIONS,
  ) as Json;
  const entry = additionalProperties as { properties: { [key: string]: Json } };
  const { shared_seed, address } = entry.properties;
  Object.assign(shared_seed ?? {}, {
    description:
      'Agreed with the peer beforehand; makes the stand-in for a missing source where the policy allows it.',
    minLength: 8,
  });
  Object.assign(address ?? {}, { description: "Where the peer's broker listens." });
  return {
    $schema,
    title: 'trusted_peers_info.json of a node of Keyweave: peers by UUID',
    ...schema,
    properties: { $schema: OWN_SCHEMA },
    patternProperties: { [(propertyNames as { pattern: string }).pattern]: entry },
    additionalProperties: false,
  };
}

/** Keys of the README's table with their meanings; `.b` behind `a.x` is `a.b`. */
function meaningsIn(readme: string): Map<string, string> {
  const meanings = new Map<string, string>();
  const section = readme.slice(readme.indexOf('\n## Configuration'));
  for (const line of section.slice(0, section.indexOf('\n## ', 1)).split('\n')) {
    const [, names = '', meaning = ''] = ROW.exec(line) ?? [];
    let parent = '';
    for (const [, name = ''] of names.matchAll(/`(.+?)`/g)) {
      const path = name.startsWith('.') ? `${parent}${name}` : name;
      parent = path.slice(0, path.lastIndexOf('.'));
      meanings.set(path, meaning.replaceAll('`', ''));
    }
  }
  return meanings;
}

/** Writes meanings into a schema; gives the keys for which neither they nor what they lie in have one. */
function describe(schema: Json, path: string, meanings: ReadonlyMap<string, string>): string[] {
  const meaning = meanings.get(path);
  if (meaning !== undefined) schema.description = meaning;
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  const members = Object.entries((schema.properties ?? {}) as { [key: string]: Json });
  if (typeof schema.additionalProperties === 'object')
    members.push(['<name>', schema.additionalProperties as Json]);
  const entry = schema.items as Json | undefined;
  if (entry?.properties) describe(entry, `${path}[]`, meanings);
  const missing = members.flatMap(([name, member]) =>
    describe(member, path === '' ? name : `${path}.${name}`, meanings),
  );
  if (meaning !== undefined) return [];
  return members.length === 0 && path !== '' ? [path] : missing;
}

const [folder = '.'] = process.argv.slice(2);
for (const [name, schema] of [
  ['config', configSchema()],
  ['trusted_peers_info', peersSchema()],
] as const)
  writeFileSync(join(folder, `${name}.schema.json`), `${JSON.stringify(schema, undefined, 2)}\n`);
