import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log, LogFields } from '#common/log/log.ts';
import { qkdStreamName } from '#test/contract/qkd-driver-contract.ts';
import { loggedDriver } from './logged-driver.ts';
import type { QkdDriver } from './qkd-driver.ts';

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
    assert.match(lines[2] ?? '', /"call":"GET_KEY","reason":"QKD_UNAVAILABLE","detail":"off"/);
    assert.match(lines[5] ?? '', /"call":"GET_KEY"/);
    assert.match(lines[1] ?? '', /"position":"5","wanted":2,"got":2/);
    assert.ok(!/c0c0|192|wMDA/.test(lines.join('\n')));
  });

  /** A driver that does what the test says, and what is logged of it. */
  function logged(change: Partial<QkdDriver>) {
    const { lines, log } = recorded();
    const driver: QkdDriver = {
      open: async () => 'kme-1',
      fetch: async () => Buffer.alloc(0),
      close: async () => undefined,
      blockBytes: 0,
      learn: async () => undefined,
      stop: () => undefined,
      ...change,
    };
    return { lines, driver: loggedDriver(driver, log) };
  }

  it('passes everything on to the driver, and back', async () => {
    const asked: unknown[][] = [];
    const { driver } = logged({
      open: async (...call) => `kme-${asked.push(call)}`,
      close: async (...call) => void asked.push(call),
      learn: async (...call) => void asked.push(call),
      stop: () => void asked.push(['stop']),
      blockBytes: 512,
    });
    const stream = qkdStreamName();
    assert.equal(await driver.open(stream, 32, 'kme-0', never), 'kme-1');
    await driver.close('kme-1', never);
    await driver.learn(stream);
    driver.stop();
    assert.equal(driver.blockBytes, 512);
    assert.deepEqual(asked, [[stream, 32, 'kme-0', never], ['kme-1', never], [stream], ['stop']]);
  });

  it('does not take a call that its caller gave up for a failure of the key manager', async () => {
    let fails = true;
    const { lines, driver } = logged({
      open: async () => {
        if (fails) throw new KeyweaveError('QKD_UNAVAILABLE', 'given up');
        return 'kme-1';
      },
    });
    const open = (signal: AbortSignal) => driver.open(qkdStreamName(), 32, '', signal);
    await assert.rejects(open(AbortSignal.abort()), /given up/);
    fails = false;
    await open(never);
    fails = true;
    await assert.rejects(open(never), /given up/);
    await assert.rejects(open(AbortSignal.abort()), /given up/);
    await assert.rejects(open(never), /given up/);
    assert.match(lines[2] ?? '', /"call":"OPEN_CONNECT"/);
    assert.match(lines[1] ?? '', /"joined":false/);
    assert.deepEqual(
      lines.map((line) => line.split(' {')[0]),
      [
        'debug a call was given up by its caller',
        'debug a QKD stream was opened',
        'warning the key manager fails',
        'debug a call was given up by its caller',
        'debug the key manager still fails',
      ],
    );
  });

  it('watches keys that are named as it watches those of a stream, and names none of them', async () => {
    let fails = false;
    const answer = <T>(value: T) => {
      if (fails) throw new KeyweaveError('QKD_UNAVAILABLE', 'off');
      return value;
    };
    const { lines, log } = recorded();
    const driver = loggedDriver(
      {
        ...{ open: async () => 'a b', fetch: async () => Buffer.alloc(0), close: async () => undefined },
        ...{ blockBytes: 0, learn: async () => undefined, stop: () => undefined },
        named: {
          take: async () => answer({ keys: Buffer.alloc(32, 0xc0), names: [Buffer.from('secretly')] }),
          find: async () => answer(Buffer.alloc(32, 0xc0)),
        },
      },
      log,
    );
    const { named } = driver;
    assert.ok(named);
    assert.equal((await named.take('a b', 2, 32, never)).names.length, 1);
    fails = true;
    for (let i = 0; i < 2; i++) await assert.rejects(named.find('a b', [], 32, never), /off/);
    fails = false;
    assert.equal((await named.find('a b', [Buffer.from('secretly')], 32, never)).length, 32);
    assert.deepEqual(
      lines.map((line) => line.split(' ')[0]),
      ['debug', 'warning', 'debug', 'info', 'debug'],
    );
    assert.match(lines[0] ?? '', /"wanted":2,"got":1/);
    assert.ok(!/secretly|c0c0|wMDA/.test(lines.join('\n')));
  });
});
