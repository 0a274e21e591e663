import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { HOME } from '#common/service/installation.ts';
import { commitOf } from '../../services/cli/version/commit.ts';

/**
 * Compiles what the package holds into `dist`, laid out as the sources are.
 * The folder has a package.json of its own: Node finds the names that start
 * with `#` there, so that the same imports work unbuilt and compiled.
 */
const dist = `${HOME}dist`;
rmSync(dist, { recursive: true, force: true });
const tsc = `${HOME}node_modules/.bin/tsc`;
execFileSync(tsc, ['--project', `${HOME}deploy/package/tsconfig.json`], { stdio: 'inherit' });
// What browsers load is served as it is.
const page = 'services/gateway/frontends/console/page';
cpSync(`${HOME}${page}`, `${dist}/${page}`, {
  recursive: true,
  filter: (path) => !path.endsWith('tsconfig.json'),
});

const manifest = JSON.parse(readFileSync(`${HOME}package.json`, 'utf8')) as {
  imports: Record<string, string>;
};
const imports = Object.fromEntries(
  Object.entries(manifest.imports)
    .filter(([name]) => !name.startsWith('#test/'))
    .map(([name, target]) => [name, target.replace(/\.ts$/, '.js')]),
);
const commit = commitOf();
writeFileSync(
  `${dist}/package.json`,
  `${JSON.stringify({ type: 'module', commit, imports }, undefined, 2)}\n`,
);
