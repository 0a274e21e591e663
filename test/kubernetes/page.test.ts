import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { HOME } from '#common/service/installation.ts';
import { attempt } from '../containers/command.ts';
import { HELM, KUBECTL } from './kubernetes.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-page-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const page = readFileSync(join(HOME, 'docs', 'kubernetes.md'), 'utf8');
const blocks = [...page.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, text = '']) => text);

/** What some commands must have said, beside succeeding. */
const SAID: readonly (readonly [RegExp, RegExp])[] = [
  [/helm test/, /equal keys at both nodes/],
  [/open_connect_A-B/, /SHA-256 ([0-9a-f]{16})[\s\S]*SHA-256 \1/],
  [/rot13/, /not taken[\s\S]*default_method/],
  [/replicas=3/, /(hybridizer-\S+\s+1\/1\s+Running[\s\S]*){3}/],
  [/readyz/, /ok/],
];

describe('docs/kubernetes.md', () => {
  // By their own names, as the page has them.
  const tools = Object.entries({ kubectl: KUBECTL, helm: HELM });
  for (const [name, path] of tools) if (isAbsolute(path)) symlinkSync(path, join(folder, name));
  const env = {
    PATH: `${folder}${delimiter}${process.env.PATH}`,
    KEYWEAVE_CERTS: join(HOME, '.cache', 'kubernetes', 'page-certificates'),
  };

  for (const block of blocks)
    it(`works as written: ${block.split('\n')[0]}`, async () => {
      const shell = ['-euo', 'pipefail', '-c', block];
      const { code, stdout, stderr } = await attempt('bash', shell, { cwd: HOME, env, limitMs: 300_000 });
      assert.equal(code, 0, `${stdout}${stderr}`);
      for (const [command, words] of SAID) if (command.test(block)) assert.match(`${stdout}${stderr}`, words);
    });

  it('has all that was looked for', () => {
    assert.ok(blocks.length >= 10);
    for (const [command] of SAID) assert.ok(blocks.some((block) => command.test(block)));
  });
});
