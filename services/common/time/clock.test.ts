import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemClock } from '#common/time/clock.ts';

const SERVICES = fileURLToPath(new URL('../../', import.meta.url));

/** The only file that reads the machine's clocks. */
const CLOCK = 'common/time/clock.ts';

/** Those that deal in dates, and so may ask for the wall clock: certificates, logs, pages, the starts of processes, gRPC's deadlines. */
const WALL = [
  /^common\/(tls|log|status)\//,
  /^common\/grpc\/server\.ts$/,
  /^common\/telemetry\/(process-metrics|duration-histograms)\.ts$/,
  /^cli\/(issue-network|commands\/(service|call)|status\/[a-z-]+)\.ts$/,
  /^client\/transports\/grpc-line\.ts$/,
  /^gateway\/telemetry\/audit-log\.ts$/,
  /^gateway\/frontends\/console\/(calls|stream-watch)\.ts$/,
];

/** A clock that is read past the clock module, by whatever name. */
const READ = /\bDate\b(?!\s*\(\s*[^\s)])|\bperformance\b|\bhrtime\b|\bTemporal\b/;

/** Source files by their path below `services`, without comments. */
function sources(): [path: string, code: string][] {
  return readdirSync(SERVICES, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts') && !path.includes('node_modules'))
    .map((path) => [
      path,
      readFileSync(join(SERVICES, path), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*/gm, ''),
    ]);
}

const filesWith = (pattern: RegExp) =>
  sources().flatMap(([path, code]) => (pattern.test(code) ? [path] : []));

describe('the clocks', () => {
  it('are read by one module alone', () => {
    assert.deepEqual(filesWith(READ), [CLOCK]);
  });

  it('of the wall are asked for dates only', () => {
    const readers = filesWith(/\bwallMs\b/);
    assert.ok(readers.includes('common/log/logger.ts'), 'the search finds nothing any more');
    assert.deepEqual(
      readers.filter((path) => path !== CLOCK && !WALL.some((dated) => dated.test(path))),
      [],
    );
  });

  for (const [code, isRead] of [
    ['const started = Date.now();', true],
    ['now: Date.now,', true],
    ['const at = new Date();', true],
    ['const { now } = Date;', true],
    ['performance.now()', true],
    ['process.hrtime.bigint()', true],
    ['new Date(nowMs).toISOString()', false],
    ['certificate.validToDate.getTime()', false],
    ['systemClock.monotonicMs()', false],
  ] as const) {
    it(`${isRead ? 'finds' : 'lets pass'} ${code}`, () => assert.equal(READ.test(code), isRead));
  }

  it('are two: setting the wall clock moves the monotonic one by nothing', (t) => {
    const [steady, wall] = [systemClock.monotonicMs(), systemClock.wallMs()];
    t.mock.method(Date, 'now', () => wall - 3_600_000);
    assert.ok(systemClock.wallMs() < wall - 3_000_000);
    const passed = systemClock.monotonicMs() - steady;
    assert.ok(passed >= 0 && passed < 60_000, `${passed} ms`);
  });
});
