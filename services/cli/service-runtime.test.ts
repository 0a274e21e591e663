import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { SERVICE_ENVIRONMENT, SERVICE_FLAGS } from './service-runtime.ts';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

describe('how a service is started', () => {
  for (const path of ['deploy/Dockerfile', 'bin/keyweave']) {
    it(`is the same in ${path}`, () => {
      const text = read(path);
      for (const flag of SERVICE_FLAGS) assert.ok(text.includes(flag), flag);
      for (const [name, value] of Object.entries(SERVICE_ENVIRONMENT)) {
        assert.match(text, new RegExp(`${name}(=|="\\$\\{${name}-)${value}\\b`), name);
      }
    });
  }

  it('leaves the last compiler out until the start is over, and then has it', () => {
    const busy = (first: string) => `
      import { optimise } from ${JSON.stringify(new URL('./service-runtime.ts', import.meta.url).href)};
      ${first}
      const add = (n) => { let sum = 0; for (let i = 0; i < n; i++) sum += i % 7; return sum; };
      for (let i = 0; i < 3000; i++) add(10_000);`;
    const traced = (first: string) =>
      execFileSync(process.execPath, [
        ...SERVICE_FLAGS,
        '--trace-opt',
        '--input-type=module',
        '-e',
        busy(first),
      ]).toString();
    assert.doesNotMatch(traced(''), /TURBOFAN_JS/);
    assert.match(traced('optimise();'), /target TURBOFAN_JS/);
  });
});
