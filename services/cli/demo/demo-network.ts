import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type KmeSimulator, startKmeSimulator } from '../../kme-simulator/main.ts';
import { type LocalNode, startNodes, stopProcess } from './local-node.ts';
import { writeNetworkFiles } from './network-files.ts';

const QKD_KEY_BYTES = 32;

export interface DemoNetwork {
  readonly nodes: readonly LocalNode[];
  /** QKD keys of 32 bytes that the nodes have taken at their key managers so far. */
  qkdKeysTaken(): number;
  /** Stops everything and removes its files. */
  stop(): Promise<void>;
}

/**
 * Whole nodes, two or more, with simulated key managers on this machine.
 *
 * @param signal gives a start up: what was started is stopped, and the files removed.
 * @param force makes stops forcible, also one that is under way.
 */
export async function startDemoNetwork(
  names: readonly string[],
  { signal, force }: { signal?: AbortSignal; force?: AbortSignal } = {},
): Promise<DemoNetwork> {
  signal?.throwIfAborted();
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-'));
  const children = new Set<ChildProcess>();
  let kme: KmeSimulator | undefined;
  const stopNodes = () => Promise.all([...children].map((child) => stopProcess(child, force)));
  const stop = async () => {
    await stopNodes();
    await kme?.stop();
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  };
  const giveUp = () => void stopNodes();
  signal?.addEventListener('abort', giveUp, { once: true });
  try {
    kme = await startKmeSimulator({ ends: names.map(() => ({ host: '127.0.0.1', port: 0 })) });
    const files = await writeNetworkFiles(folder, names, kme.addresses);
    signal?.throwIfAborted();
    const nodes = await startNodes(files, { onSpawn: (child) => children.add(child) });
    signal?.throwIfAborted();
    const { state } = kme;
    const qkdKeysTaken = () =>
      state().ends.reduce((sum, { deliveredBytes }) => sum + deliveredBytes / QKD_KEY_BYTES, 0);
    return { nodes, qkdKeysTaken, stop };
  } catch (error) {
    await stop();
    throw error;
  } finally {
    signal?.removeEventListener('abort', giveUp);
  }
}
