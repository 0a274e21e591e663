import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { cpuShares } from './cpu-shares.ts';

const HERE = 'file:///app/services/gateway';

test('a sample is of the innermost function outside of Node, and idle time and measuring of nobody', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-shares-'));
  context.after(() => rmSync(folder, { recursive: true }));
  write(folder, 'gateway-1', [
    ['(root)', '', 0, [2, 3, 4, 8]],
    ['(idle)', '', 500],
    ['(garbage collector)', '', 10],
    ['take', `${HERE}/telemetry/observed-delivery.ts`, 1, [5, 7]],
    // What the observed function does is its own work, what it asks Node for as well.
    ['take', `${HERE}/delivery/gateway-delivery.ts`, 40, [6]],
    ['hash', 'node:internal/crypto/hash', 40],
    ['now', 'node:internal/perf', 2],
    ['answer', 'file:///app/test/bench/probe/service-probe.ts', 300, [9]],
    ['post', 'node:inspector', 300],
  ]);
  write(folder, 'peer-broker-2', [
    ['(root)', '', 0, [2]],
    ['send', 'file:///app/node_modules/@grpc/grpc-js/build/src/call.js', 5, [3]],
    ['write', 'node:net', 2],
  ]);
  write(folder, 'supervisor-3', [
    ['(root)', '', 0, [2]],
    ['wait', `${HERE}/main.ts`, 1_000],
  ]);

  const { gateway, 'peer-broker': broker, supervisor, 'the five services': all } = cpuShares(folder);
  assert.deepEqual(rounded(gateway), { 'busy ms': 93, 'garbage %': 11, 'telemetry %': 3, 'gRPC %': 0 });
  assert.deepEqual(rounded(broker), { 'busy ms': 7, 'garbage %': 0, 'telemetry %': 0, 'gRPC %': 100 });
  assert.equal(supervisor?.['busy ms'], 1_000);
  assert.deepEqual(rounded(all), { 'busy ms': 100, 'garbage %': 10, 'telemetry %': 3, 'gRPC %': 7 });
});

type Row = [functionName: string, url: string, ms: number, children?: number[]];

/** Nodes are numbered from 1, each with one sample. */
function write(folder: string, name: string, rows: readonly Row[]): void {
  const nodes = rows.map(([functionName, url, , children], i) => ({
    id: i + 1,
    callFrame: { functionName, url },
    children,
  }));
  const samples = rows.map((_, i) => i + 1);
  const timeDeltas = rows.map(([, , ms]) => ms * 1_000);
  writeFileSync(join(folder, `${name}.cpuprofile`), JSON.stringify({ nodes, samples, timeDeltas }));
}

function rounded(row: Record<string, number> = {}): Record<string, number> {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, Math.round(value)]));
}
