import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import {
  type PeersChange,
  type TrustedPeersFile,
  watchTrustedPeers,
} from '#common/config/trusted-peers-file.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';

const [ALICE, BOB, CAROL] = ['a', 'b', 'c'].map((digit) =>
  [8, 4, 4, 4, 12].map((length) => digit.repeat(length)).join('-'),
) as [string, string, string];
const entry = (port: number, shared_seed?: string) => ({
  address: { host: '10.0.0.1', port },
  ...(shared_seed && { shared_seed }),
});

let folder: string;
let path: string;
let lines: string[];
let changes: PeersChange[];
let file: TrustedPeersFile;
const note =
  (level: string): Log['info'] =>
  (text, fields, cause) =>
    void lines.push(
      `${level} ${text}${cause ? ` ${(cause as Error).message}` : ''} ${JSON.stringify(fields)}`,
    );
const log: Log = { debug: note('debug'), info: note('info'), warning: note('warning'), error: note('error') };
let versions = 0;

/** Each version has another length, so that it is noticed whatever the clock's steps. */
function write(peers: object | string): void {
  const text = typeof peers === 'string' ? peers : JSON.stringify(peers);
  writeFileSync(path, text + ' '.repeat(++versions));
}

beforeEach(() => {
  mock.timers.enable({ apis: ['setInterval'] });
  folder = mkdtempSync(join(tmpdir(), 'keyweave-peers-'));
  path = join(folder, 'trusted_peers_info.json');
  [lines, changes] = [[], []];
  write({ [ALICE]: entry(1), [BOB]: entry(2, 'a seed of Bob') });
  file = watchTrustedPeers(path, { log });
  file.onChange((change) => changes.push(change));
});
afterEach(() => {
  file.close();
  mock.timers.reset();
  rmSync(folder, { recursive: true });
});

describe('watchTrustedPeers', () => {
  it('shows peers that come, go and move in the record that everybody holds', () => {
    const { current } = file;
    write({ [BOB]: entry(3, 'a seed of Bob'), [CAROL]: entry(4) });
    mock.timers.tick(1_999);
    assert.deepEqual(Object.keys(current), [ALICE, BOB]);
    mock.timers.tick(1);
    assert.deepEqual(Object.keys(current).sort(), [BOB, CAROL]);
    assert.equal(current[BOB]?.address.port, 3);
    assert.equal(current[BOB]?.shared_seed?.expose().toString(), 'a seed of Bob');
    assert.deepEqual(changes, [{ added: [CAROL], removed: [ALICE], changed: [BOB] }]);
    assert.equal(file.current, current);
  });

  it('says what has changed, and nothing where nothing has', () => {
    write({ [BOB]: entry(2, 'a seed of Bob'), [ALICE]: entry(1) });
    mock.timers.tick(10_000);
    assert.deepEqual([changes, lines], [[], []]);
    write({ [BOB]: entry(2, 'a seed of Bob') });
    mock.timers.tick(10_000);
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? '', new RegExp(`^info trusted peers read again .*"removed":"${ALICE}"`));
  });

  it('keeps the old peers while the file is not sound, and says why, once and without a secret', () => {
    const broken = ['{ "half a file', '', JSON.stringify({ [BOB]: { ...entry(2, 'a seed of Bob'), x: 1 } })];
    for (const text of broken) {
      write(text);
      mock.timers.tick(20_000);
      assert.deepEqual(Object.keys(file.current), [ALICE, BOB]);
      assert.equal(lines.length, 1);
      const [line = ''] = lines.splice(0);
      assert.match(line, /^warning the file of trusted peers is not usable, the old peers stay .*\.json: /);
      assert.doesNotMatch(line, /seed of/);
    }
    rmSync(path);
    mock.timers.tick(20_000);
    assert.match(lines.splice(0)[0] ?? '', /cannot be read \(ENOENT\)/);
    assert.deepEqual(changes, []);
    write({ [CAROL]: entry(4) });
    mock.timers.tick(2_000);
    assert.deepEqual(Object.keys(file.current), [CAROL]);
  });

  it('says nothing of a file that is broken for a moment only', () => {
    write('{ "half a file');
    mock.timers.tick(2_000);
    write({ [ALICE]: entry(1), [BOB]: entry(2, 'a seed of Bob') });
    mock.timers.tick(10_000);
    assert.deepEqual(lines, []);
  });

  it('wipes the seed of a peer that has gone or has another one, after the listeners have run', () => {
    const seeds = () => [file.current[ALICE], file.current[BOB]].map((peer) => peer?.shared_seed);
    write({ [ALICE]: entry(1, 'a seed of Alice'), [BOB]: entry(2, 'a seed of Bob') });
    mock.timers.tick(2_000);
    const [alices, bobs] = seeds();
    const seen: (boolean | undefined)[] = [];
    file.onChange(() => seen.push(alices?.wiped, bobs?.wiped));
    write({ [BOB]: entry(2, 'another seed of Bob') });
    mock.timers.tick(2_000);
    assert.deepEqual(seen, [false, false]);
    assert.deepEqual([alices?.wiped, bobs?.wiped], [true, true]);
    assert.equal(file.current[BOB]?.shared_seed?.expose().toString(), 'another seed of Bob');
  });

  it('leaves the seed of a peer that stays as it is', () => {
    const seed = file.current[BOB]?.shared_seed;
    write({ [BOB]: entry(2, 'a seed of Bob'), [CAROL]: entry(4) });
    mock.timers.tick(2_000);
    assert.equal(file.current[BOB]?.shared_seed, seed);
    assert.equal(seed?.wiped, false);
  });

  it('tells nobody who does not listen any more, and looks no more once it is closed', () => {
    const mine: PeersChange[] = [];
    const stop = file.onChange((change) => mine.push(change));
    stop();
    write({ [CAROL]: entry(4) });
    mock.timers.tick(2_000);
    assert.deepEqual([mine.length, changes.length], [0, 1]);
    file.close();
    write({ [ALICE]: entry(1) });
    mock.timers.tick(10_000);
    assert.equal(changes.length, 1);
  });

  it('needs a file that is sound to start with', () => {
    write('nothing');
    assert.throws(
      () => watchTrustedPeers(path, { log }),
      (error) => isReason(error, 'BAD_CONFIG') && /is not JSON/.test(String(error)),
    );
  });
});
