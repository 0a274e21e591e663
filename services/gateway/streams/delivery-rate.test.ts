import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DeliveryRate } from './delivery-rate.ts';

const delays = (rate: DeliveryRate, times: number[], patienceMs = 10_000) =>
  times.map((now) => rate.reserve(now, patienceMs).delayMs);

describe('DeliveryRate (ETSI GS QKD 004 V2.1.1 Table 2, Max_bps)', () => {
  it('gives one 256-bit chunk a second at 256 bit/s', () => {
    const rate = new DeliveryRate({ maxBps: 256, keyChunkSize: 32 });
    assert.deepEqual(delays(rate, [0, 0, 0, 5_000, 5_000]), [0, 1_000, 2_000, 0, 1_000]);
  });

  it('saves up one second of a higher rate', () => {
    const rate = new DeliveryRate({ maxBps: 1024, keyChunkSize: 32 });
    assert.deepEqual(delays(rate, [0, 0, 0, 0, 0, 0]), [0, 0, 0, 0, 250, 500]);
    assert.deepEqual(delays(rate, [60_000, 60_000, 60_000, 60_000, 60_000]), [0, 0, 0, 0, 250]);
  });

  it('takes nothing where the wait is too long, and takes back what was not delivered', () => {
    const rate = new DeliveryRate({ maxBps: 256, keyChunkSize: 32 });
    rate.reserve(0, 0);
    assert.deepEqual(rate.reserve(0, 999), { delayMs: 1_000, reserved: false });
    assert.deepEqual(rate.reserve(0, 1_000), { delayMs: 1_000, reserved: true });
    rate.refund();
    assert.deepEqual(rate.reserve(0, 1_000), { delayMs: 1_000, reserved: true });
  });

  it('sets no limit for 0, nor for less than one chunk a second, as in the files of the reference', () => {
    for (const maxBps of [0, 32, 255]) {
      const rate = new DeliveryRate({ maxBps, keyChunkSize: 32 });
      assert.deepEqual(delays(rate, new Array(100).fill(0)), new Array(100).fill(0));
    }
  });

  it('refuses nobody where it sets no limit', () => {
    const rate = new DeliveryRate({ maxBps: 0, keyChunkSize: 32 });
    assert.deepEqual(rate.reserve(5, 0), { delayMs: 0, reserved: true });
    for (let i = 0; i < 5_000; i++) assert.deepEqual(rate.reserve(5, 0), { delayMs: 0, reserved: true });
  });
});
