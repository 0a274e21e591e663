import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PipelineWindow } from './pipeline-window.ts';

function sizes(window: PipelineWindow, count: number): number[] {
  return Array.from({ length: count }, () => {
    const { size } = window;
    window.succeeded();
    return size;
  });
}

describe('PipelineWindow', () => {
  it('stays at one request until it is opened', () => {
    const window = new PipelineWindow();
    assert.deepEqual(sizes(window, 8), [1, 1, 1, 1, 1, 1, 1, 1]);
  });

  it('doubles up to its limit and begins anew when the key manager runs dry', () => {
    const window = new PipelineWindow();
    window.open();
    assert.deepEqual(sizes(window, 7), [1, 2, 4, 8, 16, 32, 32]);
    window.ranDry();
    assert.equal(window.size, 1);
  });

  it('is back at one request when it is shut, and begins with one when opened again', () => {
    const window = new PipelineWindow();
    window.open();
    sizes(window, 4);
    window.shut();
    assert.deepEqual(sizes(window, 3), [1, 1, 1]);
    window.shut();
    window.open();
    assert.deepEqual(sizes(window, 3), [1, 2, 4]);
  });
});
