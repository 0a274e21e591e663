import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PipelineWindow } from './pipeline-window.ts';

describe('PipelineWindow', () => {
  it('doubles up to its limit and begins anew when the key manager runs dry', () => {
    const window = new PipelineWindow();
    const sizes = Array.from({ length: 7 }, () => {
      const { size } = window;
      window.succeeded();
      return size;
    });
    assert.deepEqual(sizes, [1, 2, 4, 8, 16, 32, 32]);
    window.ranDry();
    assert.equal(window.size, 1);
  });

  it('rests after a burst that failed, not after a single request', () => {
    let now = 0;
    const window = new PipelineWindow(() => now);
    window.failed(1);
    window.succeeded();
    assert.equal(window.size, 2);
    window.failed(2);
    window.succeeded();
    assert.equal(window.size, 1);
    now += 11 * 60_000;
    assert.equal(window.size, 2);
  });

  for (const stepMs of [-3_600_000, 3_600_000]) {
    it(`rests for its time though the wall clock is set by ${stepMs / 60_000} minutes`, (t) => {
      let steadyMs = 1_000;
      let wallMs = 1_800_000_000_000;
      t.mock.method(performance, 'now', () => steadyMs);
      t.mock.method(Date, 'now', () => wallMs);
      const window = new PipelineWindow();
      window.failed(2);
      window.succeeded();
      wallMs += stepMs;
      assert.equal(window.size, 1);
      steadyMs += 11 * 60_000;
      wallMs += 11 * 60_000;
      assert.equal(window.size, 2);
    });
  }
});
