import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { LimitedLog } from '#common/log/limited-log.ts';
import type { LogFields } from '#common/log/log.ts';

let now: number;
let lines: { message: string; fields: LogFields | undefined }[];
let limited: LimitedLog;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  now = 0;
  lines = [];
  const note = (message: string, fields?: LogFields) => void lines.push({ message, fields });
  limited = new LimitedLog({ log: { info: note, warning: note }, subject: 'refusals', now: () => now });
});
afterEach(() => mock.timers.reset());

const refuse = (source: string, times = 1) => {
  for (let i = 0; i < times; i++) limited.line(source, 'info', 'refused', { client: source });
};
const messages = () => lines.map(({ message }) => message);

describe('LimitedLog', () => {
  it('logs ten lines of a source at once, and those of others none the less', () => {
    refuse('a', 1_000);
    refuse('b');
    assert.equal(lines.length, 11);
    assert.deepEqual(lines.at(-1)?.fields, { client: 'b' });
  });

  it('says with the next line how many were left out before it', () => {
    refuse('a', 17);
    now = 30_000;
    refuse('a', 2);
    assert.deepEqual(lines.slice(10), [{ message: 'refused', fields: { client: 'a', leftOutBefore: 7 } }]);
    now = 60_000;
    refuse('a');
    assert.deepEqual(lines.at(-1)?.fields, { client: 'a', leftOutBefore: 1 });
    now = 90_000;
    refuse('a');
    assert.deepEqual(lines.at(-1)?.fields, { client: 'a' });
  });

  it('says how many were left out within a minute where no line follows, once', () => {
    refuse('a', 12);
    refuse('b', 11);
    mock.timers.tick(59_999);
    assert.equal(lines.length, 20);
    mock.timers.tick(1);
    assert.deepEqual(lines.slice(20), [
      { message: 'refusals were left out', fields: { from: 'a', leftOut: 2 } },
      { message: 'refusals were left out', fields: { from: 'b', leftOut: 1 } },
    ]);
    mock.timers.tick(600_000);
    limited.close();
    assert.equal(lines.length, 22);
  });

  it('says it when it is closed', () => {
    refuse('a', 11);
    limited.close();
    assert.deepEqual(lines.at(-1), { message: 'refusals were left out', fields: { from: 'a', leftOut: 1 } });
  });

  it('cannot be filled: a day of one source is less than 3,000 lines, its reports aside', () => {
    for (; now < 86_400_000; now += 1_000) refuse('a', 10);
    assert.ok(messages().length < 3_000, `${lines.length} lines`);
    assert.ok(messages().length > 2_800);
  });

  it('tells apart a thousand sources at most; more of them share their lines, until the first have gone', () => {
    for (let i = 0; i < 1_024; i++) refuse(`source ${i}`);
    for (let i = 0; i < 500; i++) refuse(`newcomer ${i}`);
    const more = lines.length - 1_024;
    assert.ok(more <= 10, `${more} lines of newcomers`);
    now = 300_000;
    refuse('late', 5);
    assert.deepEqual(
      lines.slice(-5).map(({ fields }) => fields),
      Array.from({ length: 5 }, () => ({ client: 'late' })),
    );
  });
});
