import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { systemClock } from '#common/time/clock.ts';
import { type DatedCertificate, dateProblem, dateStateOf } from '#common/tls/certificate-dates.ts';
import { type ExpiryWatch, watchExpiry } from '#common/tls/expiry-watch.ts';

const DAY_MS = 86_400_000;
const MADE = Date.UTC(2030, 0, 1);

const certificate = (days: number, change: Partial<DatedCertificate> = {}): DatedCertificate => ({
  ...{ kind: 'own', path: '/certs/gateway.crt', who: 'spiffe://x/gateway', needed: true },
  ...{ notBeforeMs: MADE, notAfterMs: MADE + days * DAY_MS },
  ...change,
});

describe('the state of a certificate', () => {
  for (const [days, atDays, state] of [
    [100, -0.001, 'not-yet'],
    [100, 0, 'good'],
    [100, 75, 'good'],
    [100, 75.001, 'ending'],
    [100, 98.99, 'ending'],
    [100, 99.001, 'last-day'],
    [100, 100, 'last-day'],
    [100, 100.001, 'expired'],
    // One of a day is not at its end all its life.
    [1, 0.7, 'good'],
    [1, 0.8, 'last-day'],
  ] as const) {
    it(`of ${days} days is ${state} on day ${atDays}`, () =>
      assert.equal(dateStateOf(certificate(days), MADE + atDays * DAY_MS), state));
  }
});

describe('the problem of a service', () => {
  it('names the first certificate that it needs and that is out of date, with its date', () => {
    const old = certificate(1);
    const spare = certificate(1, { needed: false });
    assert.equal(dateProblem([old], MADE), undefined);
    assert.equal(dateProblem([spare], MADE + 2 * DAY_MS), undefined);
    assert.equal(
      dateProblem([spare, old], MADE + 2 * DAY_MS),
      '/certs/gateway.crt: the certificate of spiffe://x/gateway expired on 2030-01-02T00:00:00Z',
    );
    assert.equal(
      dateProblem([old], MADE - 1),
      '/certs/gateway.crt: the certificate of spiffe://x/gateway is not valid before 2030-01-01T00:00:00Z',
    );
  });
});

describe('watchExpiry', () => {
  let wallMs: number;
  let steadyMs: number;
  let lines: string[];
  let problems: (string | undefined)[];
  let current: DatedCertificate[];
  let watch: ExpiryWatch;
  const note = (level: string) => (text: string, fields?: object) =>
    void lines.push(`${level} ${text.split(':')[0]} ${(fields as { daysLeft: number }).daysLeft}`);

  beforeEach(() => {
    mock.timers.enable({ apis: ['setInterval'] });
    [wallMs, steadyMs, lines, problems] = [MADE, 0, [], []];
    current = [certificate(100)];
    watch = watchExpiry({
      certificates: () => current,
      onProblem: (problem) => problems.push(problem),
      log: { warning: note('warning'), error: note('error') },
      clock: { ...systemClock, wallMs: () => wallMs, monotonicMs: () => steadyMs },
    });
  });
  afterEach(() => {
    watch.close();
    mock.timers.reset();
  });

  /** Time goes by at both clocks, looked at each hour. */
  function pass(days: number): void {
    for (let hours = 0; hours < days * 24; hours++) {
      wallMs += DAY_MS / 24;
      steadyMs += DAY_MS / 24;
      mock.timers.tick(2_000);
    }
  }
  const taken = () => lines.splice(0);

  it('says nothing for three quarters of the life', () => {
    pass(75);
    assert.deepEqual(taken(), []);
  });

  it('warns once at a quarter, then daily, and says an error in the last day and daily after the end', () => {
    pass(75 + 1 / 24);
    assert.deepEqual(taken(), ['warning a certificate ends soon 24']);
    pass(0.9);
    assert.deepEqual(taken(), []);
    pass(2.1);
    assert.equal(taken().length, 3);
    pass(21);
    assert.ok(taken().includes('error a certificate ends within a day 0'));
    pass(1);
    assert.deepEqual(taken(), ['error a certificate is out of date -1']);
    pass(2);
    assert.equal(taken().length, 2);
  });

  it('does not repeat itself when the wall clock is set, and tells by it what the dates are', () => {
    wallMs = MADE + 80 * DAY_MS;
    mock.timers.tick(2_000);
    assert.equal(taken().length, 1);
    for (const days of [85, 90, 84]) {
      wallMs = MADE + days * DAY_MS;
      mock.timers.tick(2_000);
    }
    assert.deepEqual(taken(), [], 'no day has gone by');
    wallMs = MADE - DAY_MS;
    mock.timers.tick(2_000);
    assert.deepEqual(taken(), ['error a certificate is not valid yet 101']);
  });

  it('starts anew with another certificate, and for each by itself', () => {
    wallMs = MADE + 80 * DAY_MS;
    mock.timers.tick(2_000);
    current = [certificate(100, { path: '/other.crt' }), certificate(200), ...current];
    taken();
    mock.timers.tick(2_000);
    assert.deepEqual(taken(), ['warning a certificate ends soon 20']);
  });

  it('speaks of lists as lists', () => {
    current = [certificate(1, { kind: 'list', needed: false })];
    wallMs = MADE + 2 * DAY_MS;
    mock.timers.tick(2_000);
    assert.deepEqual(taken(), ['error a revocation list is out of date -1']);
    assert.equal(watch.problem(), undefined);
  });

  it('tells when there is a problem, and when there is none any more', () => {
    wallMs = MADE + 101 * DAY_MS;
    assert.match(watch.problem() ?? '', /expired on/, 'at once for who asks');
    mock.timers.tick(4_000);
    assert.equal(problems.length, 1);
    current = [certificate(200)];
    mock.timers.tick(4_000);
    assert.deepEqual(problems.slice(1), [undefined]);
    assert.equal(watch.problem(), undefined);
  });

  it('keeps those out of the log that somebody else speaks for, not out of the problem', () => {
    watch.close();
    wallMs = MADE + 101 * DAY_MS;
    watch = watchExpiry({
      certificates: () => current,
      isLogged: () => false,
      log: { warning: note('warning'), error: note('error') },
      clock: { ...systemClock, wallMs: () => wallMs, monotonicMs: () => steadyMs },
    });
    assert.deepEqual(taken(), []);
    assert.ok(watch.problem());
  });
});
