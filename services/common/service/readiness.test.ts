import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Readiness } from '#common/service/readiness.ts';

let readiness: Readiness;
beforeEach(() => {
  readiness = new Readiness({ limitMs: 20 });
});

describe('Readiness', () => {
  it('is starting, then what the checks say, then stopping for good', async () => {
    let problem: string | undefined;
    readiness.add('certificate', () => problem);
    assert.deepEqual(await readiness.problems(), ['starting']);
    assert.equal(readiness.starting, true);
    readiness.started();
    assert.equal(readiness.starting, false);
    assert.deepEqual(await readiness.problems(), []);
    problem = 'expired on Monday';
    assert.deepEqual(await readiness.problems(), ['certificate: expired on Monday']);
    readiness.stopping();
    readiness.started();
    assert.deepEqual(await readiness.problems(), ['stopping']);
  });

  it('names all that is missing, of as many reasons as a check has', async () => {
    readiness.started();
    readiness.add('certificates', () => ['gateway: expired', 'tool: expired']);
    readiness.add('clock', async () => undefined);
    const remove = readiness.add('hybridizer', async () => 'cannot be reached');
    assert.deepEqual(await readiness.problems(), [
      'certificates: gateway: expired',
      'certificates: tool: expired',
      'hybridizer: cannot be reached',
    ]);
    remove();
    assert.equal((await readiness.problems()).length, 2);
  });

  it('counts a check that fails, or that takes too long, as a problem', async () => {
    readiness.started();
    readiness.add('a', () => Promise.reject(new Error('S3cret')));
    readiness.add('b', () => {
      throw new Error('S3cret');
    });
    readiness.add('c', () => new Promise(() => undefined));
    assert.deepEqual(await readiness.problems(), [
      'a: cannot be checked',
      'b: cannot be checked',
      'c: does not answer',
    ]);
  });

  it('runs no check twice at a time, however many ask, and none while nobody does', async () => {
    let asked = 0;
    readiness.started();
    readiness.add('counted', async () => {
      asked += 1;
      return undefined;
    });
    await Promise.all(Array.from({ length: 50 }, () => readiness.problems()));
    assert.equal(asked, 1);
    await readiness.problems();
    assert.equal(asked, 2);
  });

  it('is stopping at once, though a check is still under way', async () => {
    readiness.started();
    const slow = Promise.withResolvers<undefined>();
    readiness.add('slow', () => slow.promise);
    const asked = readiness.problems();
    readiness.stopping();
    slow.resolve(undefined);
    assert.deepEqual(await asked, ['stopping']);
  });

  it('takes each name once', () => {
    readiness.add('twice', () => undefined);
    assert.throws(() => readiness.add('twice', () => undefined), TypeError);
  });
});
