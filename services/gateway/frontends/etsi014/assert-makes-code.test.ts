import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';

const MODULE = new URL('./assert-makes-code.ts', import.meta.url).href;
const SCRIPT = `
import { assertMakesCode } from '${MODULE}';
try {
  assertMakesCode('listeners.rest');
  console.log('fine');
} catch ({ reason, detail }) {
  console.log(reason, detail);
}`;

const saidWith = (...flags: string[]) =>
  execFileSync(process.execPath, [...flags, '--input-type=module', '--eval', SCRIPT], { encoding: 'utf8' });

describe('what the REST API needs of the run time', () => {
  it('is there, or the setting is named with the flag that is in the way', () => {
    assert.equal(saidWith(), 'fine\n');
    assert.match(
      saidWith('--disallow-code-generation-from-strings'),
      /^BAD_CONFIG listeners\.rest: needs .*--disallow-code-generation-from-strings\n$/,
    );
  });
});
