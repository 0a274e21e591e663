import assert from 'node:assert/strict';
import { it } from 'node:test';
import { docker, make, PROJECT } from './container-network.ts';

const KINDS = [
  ['ps', '--all'],
  ['network', 'ls'],
  ['volume', 'ls'],
] as const;

function remains(): Promise<string[]> {
  const filter = ['--quiet', '--filter', `label=com.docker.compose.project=${PROJECT}`];
  return Promise.all(KINDS.map((kind) => docker(...kind, ...filter)));
}

it('make down leaves no container, no network and no volume', async () => {
  for (const found of await remains()) assert.notEqual(found, '', 'there was nothing to remove');
  const { code, stderr } = await make('down');
  assert.equal(code, 0, stderr);
  assert.deepEqual(await remains(), ['', '', '']);
});

it('make down may be repeated', async () => {
  const { code, stderr } = await make('down');
  assert.equal(code, 0, stderr);
});
