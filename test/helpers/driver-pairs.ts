import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { type NodeConfig, nodeConfigSchema } from '#common/config/node-config.ts';
import {
  type KmeSimulator,
  type KmeSimulatorOptions,
  startKmeSimulator,
} from '../../services/kme-simulator/main.ts';
import type { QkdDriver } from '../../services/qkd-source/drivers/qkd-driver.ts';
import type { QkdDriverPairFactory } from '../contract/qkd-driver-contract.ts';

export const ANY_PORT = { host: '127.0.0.1', port: 0 };

type CreateDriver = (address: Address, settings: NodeConfig['qkd'], end: number) => QkdDriver;

export interface SimulatedPair {
  readonly kme: KmeSimulator;
  readonly a: QkdDriver;
  readonly b: QkdDriver;
}

/** Two simulated key managers and a driver at each, which has learnt what its key manager takes. */
export async function driverPair(
  t: TestContext,
  create: CreateDriver,
  simulator: Partial<KmeSimulatorOptions> = {},
  change: object = {},
): Promise<SimulatedPair> {
  const kme = await startKmeSimulator({ ends: [ANY_PORT, ANY_PORT], warn: () => undefined, ...simulator });
  const settings = nodeConfigSchema.shape.qkd.parse({ timeout: '20s', ...change });
  const [a, b] = kme.addresses.map((address, end) => create(address, settings, end));
  assert.ok(a && b);
  t.after(async () => {
    a.stop();
    b.stop();
    await kme.stop();
  });
  await Promise.all([a.learn(), b.learn()]);
  return { kme, a, b };
}

/** Pairs for the contract suite of drivers. */
export function simulatedPairs(
  create: CreateDriver,
  simulator: Partial<KmeSimulatorOptions> = {},
  change: object = {},
): QkdDriverPairFactory {
  return async (t, timeoutMs) => {
    const { kme, a, b } = await driverPair(t, create, simulator, { ...change, timeout: `${timeoutMs}ms` });
    return {
      a,
      b,
      silence: () => kme.setFault(0, 'hang'),
      cutNext: () => kme.setFault(0, 'drop', 1),
      dryOnce: () => kme.setFault(0, 'dry', 1),
      wrongKeyOnce: () => kme.setFault(0, 'wrong-key', 1),
      repeatOnce: () => kme.setFault(0, 'repeat', 1),
      switchOff: () => kme.stopEnd(0),
      switchOn: () => kme.startEnd(0),
    };
  };
}
