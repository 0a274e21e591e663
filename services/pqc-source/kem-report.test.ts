import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KEM_ALGORITHMS } from '#common/catalogue/kems.ts';
import { toyKem } from '#test/helpers/toy-kem.ts';
import { reportKems } from './kem-report.ts';

const missing = new Map([['liboqs-native', 'run make native'] as const]);
const isMlKem = ({ family }: { family: string }) => family === 'ML-KEM';

describe('reportKems', () => {
  it('says of every KEM which engine it has here, or why it has none', async () => {
    const openssl = toyKem({ supports: isMlKem });
    const reports = await reportKems({ engines: [openssl.engine], missing }, 'none');
    assert.deepEqual(
      reports.map(({ name }) => name),
      KEM_ALGORITHMS.map(({ name }) => name),
    );
    for (const { name, family, engine, unavailable, microseconds } of reports) {
      assert.equal(engine, family === 'ML-KEM' ? 'openssl' : null, name);
      if (engine === null) assert.match(unavailable, new RegExp(`^${name} cannot be had`));
      else assert.equal(unavailable, '');
      assert.equal(microseconds, undefined);
    }
    assert.match(reports.find(({ family }) => family === 'BIKE')?.unavailable ?? '', /make native/);
    assert.equal(openssl.counts().closed, 1);
    assert.deepEqual(openssl.calls, [], 'nothing is measured');
  });

  it('measures the engine in use, or every one that has the KEM', async () => {
    const isOne = ({ name }: { name: string }) => name === 'ML-KEM-768';
    const row = KEM_ALGORITHMS.find(isOne);
    const available = () => ({
      engines: (row?.engines ?? []).slice(0, 2).map((name) => toyKem({ name, supports: isOne }).engine),
      missing: new Map(),
    });
    const [inUse, other] = row?.engines ?? [];
    for (const [measured, names] of [
      ['used', [inUse]],
      ['all', [inUse, other]],
    ] as const) {
      const reports = await reportKems(available(), measured);
      assert.deepEqual(Object.keys(reports.find(isOne)?.microseconds ?? {}), names, measured);
      for (const report of reports)
        if (!isOne(report)) assert.deepEqual(report.microseconds, {}, report.name);
    }
  });

  it('takes no engine that fails its self-test', async () => {
    const broken = toyKem({ selfTest: () => Promise.reject(new Error('wrong')) });
    const reports = await reportKems({ engines: [broken.engine], missing: new Map() }, 'none');
    assert.ok(reports.every(({ engine }) => engine === null));
  });
});
