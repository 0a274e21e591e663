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
});
