import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { addressField, durationField, uuidField } from '#common/config/fields.ts';
import { parseDurationMs } from '#common/time/durations.ts';

const accepts = (field: { safeParse(value: unknown): { success: boolean } }, value: unknown) =>
  field.safeParse(value).success;

describe('the fields of the configuration', () => {
  it('take a UUID in any case and keep it in lower case', () => {
    assert.equal(
      uuidField.parse('AAAAAAAA-bbbb-CCCC-dddd-EEEEEEEEEEEE'),
      'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
    );
    for (const bad of [
      '',
      'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeeg',
      'aaaaaaaabbbbccccddddeeeeeeeeeeee',
      ' aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
      'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee\n',
      7,
    ])
      assert.equal(accepts(uuidField, bad), false, String(bad));
  });

  it('take addresses with a port and nothing beside it', () => {
    assert.deepEqual(addressField.parse({ host: 'a', port: 0 }), { host: 'a', port: 0 });
    assert.ok(accepts(addressField, { host: 'a', port: 65_535 }));
    for (const bad of [
      { host: 'a', port: 65_536 },
      { host: 'a', port: -1 },
      { host: 'a', port: 1.5 },
      { host: '', port: 1 },
      { host: 'a' },
      { host: 'a', port: 1, tls: true },
    ])
      assert.equal(accepts(addressField, bad), false, JSON.stringify(bad));
  });

  it('take durations with their unit, in milliseconds inside', () => {
    for (const [text, ms] of [
      ['0ms', 0],
      ['250ms', 250],
      ['10s', 10_000],
      ['5m', 300_000],
      ['1h', 3_600_000],
      ['596h', 2_145_600_000],
    ] as const) {
      assert.equal(durationField('1s', 0).parse(text), ms, text);
      assert.equal(parseDurationMs(text), ms, text);
    }
    assert.equal(durationField('2s').parse(undefined), 2000);
    for (const bad of ['597h', '9ms', '10', '1.5s', '-1s', '1 s', '1d', 's', '', 10])
      assert.equal(accepts(durationField('1s'), bad), false, String(bad));
    assert.throws(() => parseDurationMs('1d'), /not a duration: 1d/);
  });
});
