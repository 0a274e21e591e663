import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type KmeSimulator, startKmeSimulator } from '../../kme-simulator/main.ts';
import { type LocalNode, startNodes, stopNode } from './local-node.ts';
import { writeNetworkFiles } from './network-files.ts';

export interface DemoNetwork {
  readonly nodes: readonly LocalNode[];
  /** Stops everything and removes its files. */
  stop(): Promise<void>;
}

/** Whole nodes, two or more, with simulated key managers on this machine. */
export async function startDemoNetwork(names: readonly string[]): Promise<DemoNetwork> {
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-'));
  let kme: KmeSimulator | undefined;
  let nodes: readonly LocalNode[] = [];
  const stop = async () => {
    await Promise.all(nodes.map((node) => stopNode(node)));
    await kme?.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    kme = await startKmeSimulator({ ends: names.map(() => ({ host: '127.0.0.1', port: 0 })) });
    nodes = await startNodes(await writeNetworkFiles(folder, names, kme.addresses));
    return { nodes, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
