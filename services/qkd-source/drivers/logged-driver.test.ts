import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log, LogFields } from '#common/log/log.ts';
import { loggedDriver } from './logged-driver.ts';
import { qkdStreamName } from './qkd-driver-contract.ts';

const never = new AbortController().signal;

function recorded() {
  const lines: string[] = [];
  const at =
    (level: string) =>
    (message: string, fields: LogFields = {}) =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  const log: Log = { debug: at('debug'), info: at('info'), warning: at('warning'), error: at('error') };
  return { lines, log };
}

describe('loggedDriver', () => {
  it('warns once when the key manager begins to fail, and says when it is back', async () => {
    const { lines, log } = recorded();
    let fails = false;
    const driver = loggedDriver(
      {
        open: async () => 'kme-1',
        fetch: async (_, __, count, keyBytes) => {
          if (fails) throw new KeyweaveError('QKD_UNAVAILABLE', 'off');
          return Buffer.alloc(count * keyBytes, 0xc0);
        },
        close: async () => undefined,
        blockBytes: 0,
        learn: async () => undefined,
        stop: () => undefined,
      },
      log,
    );
    const fetch = () => driver.fetch('kme-1', 5n, 2, 32, never);
    await driver.open(qkdStreamName(), 32, '', never);
    await fetch();
    fails = true;
    for (let i = 0; i < 3; i++) await assert.rejects(fetch(), /QKD_UNAVAILABLE: off/);
    fails = false;
    assert.equal((await fetch()).length, 64);
    await driver.close('kme-1', never);
    const levels = lines.map((line) => line.split(' ')[0]);
    assert.deepEqual(levels, ['debug', 'debug', 'warning', 'debug', 'debug', 'info', 'debug', 'debug']);
    assert.match(lines[1] ?? '', /"position":"5","wanted":2,"got":2/);
    assert.ok(!/c0c0|192|wMDA/.test(lines.join('\n')));
  });
});
