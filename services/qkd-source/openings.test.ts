import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { type OpeningOf, Openings } from './openings.ts';

const never = new AbortController().signal;
const settle = () => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
afterEach(() => mock.timers.reset());

const stream = (i: number, change: Partial<OpeningOf> = {}): OpeningOf => ({
  keyStreamId: `ksid-${i}`,
  epoch: 0,
  sourceNode: 'own',
  destinationNode: 'peer',
  ...change,
});

/** Openings whose work ends when the test says so, or with its signal where it is `obedient`. */
function openings({ obedient = true } = {}) {
  const all = new Openings();
  const begun: { of: OpeningOf; signal: AbortSignal; done: PromiseWithResolvers<string> }[] = [];
  const run = (of: OpeningOf, signal = never) => {
    const outcome = all.run(of, signal, (limit) => {
      const done = Promise.withResolvers<string>();
      begun.push({ of, signal: limit, done });
      if (obedient) limit.addEventListener('abort', () => done.reject(limit.reason));
      return done.promise;
    });
    outcome.catch(() => undefined);
    return outcome;
  };
  return { run, begun };
}

describe('Openings', () => {
  it('gives what the work gives, or its failure', async () => {
    const { run, begun } = openings();
    const [one, two] = [run(stream(1)), run(stream(2))];
    await settle();
    begun[0]?.done.resolve('kme-1');
    begun[1]?.done.reject(new Error('as the test says'));
    assert.equal(await one, 'kme-1');
    await assert.rejects(two, /as the test says/);
  });

  it('gives the nodes of a pair their turns together, whichever of them is the source', async () => {
    const { run, begun } = openings();
    const turned = { sourceNode: 'peer', destinationNode: 'own' };
    for (let i = 0; i < 40; i++) run(stream(i, i % 2 === 0 ? {} : turned));
    await settle();
    assert.equal(begun.length, 16);
    run(stream(100, { destinationNode: 'another' }));
    await settle();
    assert.equal(begun.length, 17);
    begun[0]?.done.resolve('');
    await settle();
    assert.equal(begun.length, 18, 'the next one has its turn');
  });

  it('keeps no more than so many waiting for one node, and has room for others and for later ones', async () => {
    const { run, begun } = openings();
    const stop = new AbortController();
    const held = Array.from({ length: 4096 }, (_, i) => run(stream(i), stop.signal));
    await assert.rejects(run(stream(4096)), (error) => isReason(error, 'LIMIT_EXCEEDED'));
    run(stream(4097, { destinationNode: 'another' }));
    await settle();
    assert.equal(begun.at(-1)?.of.destinationNode, 'another');
    begun[0]?.done.resolve('');
    await settle();
    const before = begun.length;
    const later = run(stream(4098));
    stop.abort();
    for (const outcome of (await Promise.allSettled(held)).slice(1))
      assert.ok(outcome.status === 'rejected' && !isReason(outcome.reason, 'LIMIT_EXCEEDED'));
    await settle();
    assert.ok(begun.length > before);
    begun.at(-1)?.done.resolve('later');
    assert.equal(await later, 'later');
    for (let i = 0; i < 4096; i++) run(stream(i));
    await assert.rejects(run(stream(4096)), (error) => isReason(error, 'LIMIT_EXCEEDED'));
  });

  it('says that no turn came, but gives the reason of work that ended with the signal itself', async () => {
    const { run, begun } = openings();
    const gone = new AbortController();
    for (let i = 0; i < 16; i++) run(stream(i));
    const waiting = run(stream(16), gone.signal);
    await settle();
    gone.abort(new Error('the caller has gone'));
    await assert.rejects(
      waiting,
      (error) => isReason(error, 'QKD_UNAVAILABLE') && /turn/.test(String(error)),
    );
    assert.equal(begun.length, 16);
  });

  it('ends at once the wait of an opening whose stream is opened anew', async () => {
    const { run, begun } = openings();
    for (let i = 0; i < 16; i++) run(stream(i));
    const first = run(stream(16, { epoch: 3 }));
    const second = run(stream(16, { epoch: 4 }));
    await assert.rejects(
      first,
      (error) => isReason(error, 'QKD_OUT_OF_STEP') && /epoch 3 /.test(String(error)),
    );
    begun[0]?.done.resolve('');
    await settle();
    assert.equal(begun.at(-1)?.of.epoch, 4);
    begun.at(-1)?.done.resolve('kme');
    assert.equal(await second, 'kme');
  });

  it('leaves an opening that has begun a moment to end, before it ends it', async () => {
    const { run, begun } = openings();
    const [first, other] = [run(stream(1, { epoch: 1 })), run(stream(2))];
    await settle();
    run(stream(1, { epoch: 2 }));
    mock.timers.tick(249);
    assert.equal(begun[0]?.signal.aborted, false);
    mock.timers.tick(1);
    assert.equal(begun[0]?.signal.aborted, true);
    await assert.rejects(first, (error) => isReason(error, 'QKD_OUT_OF_STEP'));
    assert.equal(begun[1]?.signal.aborted, false, 'other streams are left alone');
    begun[1]?.done.resolve('kme-2');
    assert.equal(await other, 'kme-2');
  });

  it('still knows the newest opening of a stream when an older one ends', async () => {
    const { run, begun } = openings();
    const first = run(stream(1, { epoch: 1 }));
    await settle();
    const second = run(stream(1, { epoch: 2 }));
    await settle();
    begun[0]?.done.resolve('kme-1');
    assert.equal(await first, 'kme-1');
    run(stream(1, { epoch: 3 }));
    mock.timers.tick(250);
    await assert.rejects(second, (error) => isReason(error, 'QKD_OUT_OF_STEP'));
  });

  it('forgets a stream that has been opened: opened anew it disturbs nothing', async () => {
    const { run, begun } = openings();
    const first = run(stream(1));
    await settle();
    begun[0]?.done.resolve('kme-1');
    await first;
    run(stream(1));
    mock.timers.tick(250);
    assert.equal(begun[0]?.signal.aborted, false);
  });
});
