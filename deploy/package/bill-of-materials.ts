import { execFileSync } from 'node:child_process';
import { HOME } from '#common/service/installation.ts';
import { crates, npmPackages } from './third-party.ts';

interface Component {
  'bom-ref': string;
  name: string;
  version: string;
  licenses?: unknown[];
}

interface Bill {
  metadata: { component: Component };
  components: Component[];
  dependencies: { ref: string; dependsOn?: string[] }[];
}

/** CycloneDX of all that npm installs for the command, and of the crates. @throws Error naming what has no licence. */
export function billOfMaterials(): string {
  const text = execFileSync(
    'npm',
    ['sbom', '--package-lock-only', '--sbom-format=cyclonedx', '--sbom-type=application'],
    { cwd: HOME, encoding: 'utf8', maxBuffer: 2 ** 26 },
  );
  const bill = JSON.parse(text) as Bill;
  // npm's own `--omit=dev` forgets packages that development needs as well.
  const wanted = new Set(npmPackages('command').map(({ name, version }) => `${name}@${version}`));
  bill.components = bill.components.filter(({ name, version }) => wanted.has(`${name}@${version}`));
  const kept = new Set([bill.metadata.component, ...bill.components].map((one) => one['bom-ref']));
  bill.dependencies = bill.dependencies
    .filter(({ ref }) => kept.has(ref))
    .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((one) => kept.has(one)) }));
  // npm takes the folder's name.
  bill.metadata.component.name = 'keyweave';
  for (const { name, version, licence } of crates()) {
    const purl = `pkg:cargo/${name}@${version}`;
    const crate = { 'bom-ref': purl, type: 'library', name, version, scope: 'optional', purl };
    bill.components.push(
      Object.assign(crate, { licenses: [{ expression: licence.replace(/ ?\/ ?/g, ' OR ') }] }),
    );
  }
  const bare = bill.components.filter(({ licenses = [] }) => licenses.length === 0).map(({ name }) => name);
  if (bare.length > 0) throw new Error(`no licence is known of ${bare.join(', ')}`);
  return `${JSON.stringify(bill, undefined, 2)}\n`;
}
