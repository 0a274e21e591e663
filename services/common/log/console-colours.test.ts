import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { consoleColours } from '#common/log/console-colours.ts';

describe('consoleColours', () => {
  for (const [isTTY, environment, expected] of [
    [true, {}, true],
    [false, {}, false],
    [undefined, {}, false],
    [true, { TERM: 'dumb' }, false],
    [true, { NO_COLOR: '1' }, false],
    [true, { NO_COLOR: '0' }, false],
    [true, { NO_COLOR: '' }, true],
    [false, { FORCE_COLOR: '1' }, true],
    [false, { FORCE_COLOR: 'true' }, true],
    [false, { FORCE_COLOR: '' }, false],
    [true, { FORCE_COLOR: '0' }, false],
    [true, { FORCE_COLOR: 'False' }, false],
    [false, { FORCE_COLOR: '3', NO_COLOR: '1', TERM: 'dumb' }, true],
  ] as const) {
    const where = isTTY ? 'a terminal' : isTTY === false ? 'a pipe' : 'a file';
    it(`${expected ? 'are there' : 'are not there'} on ${where} with ${JSON.stringify(environment)}`, () => {
      assert.equal(consoleColours({ ...(isTTY !== undefined && { isTTY }) }, environment), expected);
    });
  }
});
