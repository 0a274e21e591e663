import { accessPeerFaults } from '#common/config/access/access-rules.ts';
import { listenerPeerFaults } from '#common/config/app-listener-rules.ts';
import { listenerFaults, type Place } from '#common/config/listeners.ts';
import { assertSound, type NodeFiles, readNodeFiles } from '#common/config/load.ts';
import { type NodeConfig, SERVICE_NAMES, type ServiceName } from '#common/config/node-config.ts';
import { namedFileFaults } from './named-files.ts';
import { serviceAddresses } from './service-addresses.ts';

export interface NodeToJudge {
  readonly config: string;
  readonly peers: string;
  /** The one service that shall run here; absent: all five, as one node. */
  readonly service?: ServiceName;
  /** `--addresses` of the service. */
  readonly addresses?: string;
  /** A supervisor serves the probes. */
  readonly supervised?: boolean;
  /** The files are for another machine: what they name is not looked at. */
  readonly elsewhere?: boolean;
}

export interface Judgement {
  /** Undefined where the texts make none. */
  readonly files: NodeFiles | undefined;
  /** All that keeps the node, or the service, from starting with these files, a line each. */
  readonly problems: readonly string[];
}

/**
 * Judges a node's two files and the files that they name. The one judge: what
 * starts and what `check-config` accepts follow from it alike. Nothing is
 * written, bound or dialled: ports in use and hosts that do not answer are not
 * the files' fault.
 */
export function judgeNode(node: NodeToJudge): Judgement {
  const { config, peers } = readNodeFiles(node.config, node.peers);
  const problems = [...config.problems, ...peers.problems];
  if (config.value) {
    const services = node.service ? [node.service] : SERVICE_NAMES;
    const found = listenerFaults(config.value, placeOf(node, config.value));
    if (peers.value) {
      found.push(...listenerPeerFaults(config.value, peers.value));
      found.push(...accessPeerFaults(config.value, peers.value));
    }
    if (!node.elsewhere) found.push(...namedFileFaults(config.value, services));
    problems.push(...found.map(config.tell));
  }
  const files = config.value && peers.value && { config: config.value, peers: peers.value };
  return { files, problems };
}

/**
 * The configuration of a node that may start. Whoever needs the peers watches
 * their file; the secrets that were read here are wiped.
 *
 * @throws KeyweaveError BAD_CONFIG of all that `judgeNode` finds.
 */
export function soundConfig(node: NodeToJudge): NodeConfig {
  const { files, problems } = judgeNode(node);
  for (const { shared_seed: seed } of Object.values(files?.peers ?? {})) seed?.wipe();
  assertSound(problems);
  return (files as NodeFiles).config;
}

function placeOf({ service, addresses, supervised }: NodeToJudge, config: NodeConfig): Place {
  if (service !== undefined)
    return {
      services: [service],
      addresses: { [service]: serviceAddresses(config, addresses)[service] },
      health: !supervised,
    };
  // Under `keyweave node` services without an address take free ports.
  const configured = SERVICE_NAMES.map((name) => [name, config.services[name]?.address] as const);
  return {
    services: SERVICE_NAMES,
    addresses: Object.fromEntries(configured.filter(([, address]) => address !== undefined)),
    health: true,
  };
}
