import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  addressIn,
  composeOrThrow,
  containerOf,
  docker,
  HOME,
  inNetworkOf,
  inspect,
  networkName,
  probe,
} from './container-network.ts';

/** A way to make trouble, and to end it. */
export interface Fault {
  readonly name: string;
  /** How long it lasts at least. */
  readonly holdMs: number;
  /** The node whose gateway, and so whose streams, it takes along. */
  readonly losesStreamsOf?: string;
  /** Nothing works round it: it lasts until some application has felt it. */
  readonly mustBeFelt?: boolean;
  /** What it needs beforehand, and takes away afterwards; not part of the trouble. */
  prepare?(): Promise<void>;
  cleanUp?(): Promise<void>;
  begin(): Promise<void>;
  end(): Promise<void>;
}

const RESTART_LIMIT_MS = 10_000;
const SHORT_MS = 1_000;
const LONG_MS = 6_000;
const nothing = async () => {};

/** The process dies as by a crash; the engine starts it again. */
export function crash(service: string): Fault {
  const node = service.slice(0, service.indexOf('-'));
  return {
    name: `${service} dies`,
    holdMs: SHORT_MS,
    ...(service.endsWith('-gateway') && { losesStreamsOf: node }),
    begin: async () => {
      const id = await containerOf(service);
      const { State, RestartCount } = await inspect(id);
      process.kill(State.Pid, 'SIGKILL');
      await until(`${service} is started again`, async () => (await inspect(id)).RestartCount > RestartCount);
    },
    end: nothing,
  };
}

/** The process stands still, with its connections open. */
export function freeze(service: string): Fault {
  return {
    name: `${service} is paused`,
    holdMs: LONG_MS,
    mustBeFelt: true,
    begin: async () => void (await docker('pause', await containerOf(service))),
    end: async () => void (await docker('unpause', await containerOf(service))),
  };
}

/** The cable is pulled, and put in again. */
export function unplug(service: string, network: string): Fault {
  let address = '';
  let aliases: string[] = [];
  return {
    name: `${service} is disconnected from ${network}`,
    holdMs: LONG_MS,
    mustBeFelt: true,
    begin: async () => {
      const id = await containerOf(service);
      const state = await inspect(id);
      address = addressIn(state, network);
      aliases = state.NetworkSettings.Networks[networkName(network)]?.Aliases ?? [];
      await docker('network', 'disconnect', networkName(network), id);
    },
    end: async () => {
      const named = aliases.flatMap((alias) => ['--alias', alias]);
      await docker(
        'network',
        'connect',
        '--ip',
        address,
        ...named,
        networkName(network),
        await containerOf(service),
      );
    },
  };
}

/** Packets of one service no longer reach the other; those the other way do. */
export function cutOneWay(from: string, to: string, network: string): Fault {
  let source = '';
  return {
    name: `nothing from ${from} reaches ${to}`,
    holdMs: LONG_MS,
    mustBeFelt: true,
    begin: async () => {
      source = addressIn(await inspect(await containerOf(from)), network);
      await inNetworkOf(to, 'iptables', '-A', 'INPUT', '-s', source, '-j', 'DROP');
    },
    end: async () => void (await inNetworkOf(to, 'iptables', '-D', 'INPUT', '-s', source, '-j', 'DROP')),
  };
}

/** A share of the packets of a service is lost, both ways. */
export function lose(share: number, service: string): Fault {
  const rule = ['-m', 'statistic', '--mode', 'random', '--probability', `${share}`, '-j', 'DROP'];
  const change = async (how: '-A' | '-D') => {
    for (const chain of ['INPUT', 'OUTPUT']) await inNetworkOf(service, 'iptables', how, chain, ...rule);
  };
  return {
    name: `${share * 100} % of the packets of ${service} are lost`,
    holdMs: LONG_MS,
    begin: () => change('-A'),
    end: () => change('-D'),
  };
}

/** The container may use so little memory that it cannot live; then as much as before. */
export function starve(service: string): Fault {
  const setMemory = async (bytes: number, limit: string) => {
    const id = await containerOf(service);
    await docker('stop', '--time', '0', id);
    await docker('update', '--memory', `${bytes}`, '--memory-swap', limit, id);
    await docker('start', id);
  };
  let before = 0;
  return {
    name: `${service} is out of memory`,
    holdMs: LONG_MS,
    mustBeFelt: true,
    begin: async () => {
      const id = await containerOf(service);
      before = (await inspect(id)).HostConfig.Memory;
      await setMemory(24 * 1024 * 1024, `${24 * 1024 * 1024}`);
      await until(`${service} is killed for want of memory`, async () => {
        const { State } = await inspect(id);
        return State.OOMKilled || State.ExitCode === 137;
      });
    },
    end: () => setMemory(before, '-1'),
  };
}

/**
 * The clock of one service runs `days` ahead, so that every certificate seems
 * to have expired. The container is made anew with Debian's library that shifts
 * clocks, and reads the shift from a file.
 */
export function shiftClock(service: string, days: number): Fault {
  const folder = join(HOME, '.cache', 'containers', 'clock');
  const setShift = (shift: string) => writeFileSync(join(folder, 'shift'), `${shift}\n`);
  const override = join(folder, 'compose.yaml');
  const readiness = () => probe(service, '/readyz');
  return {
    name: `the clock of ${service} is ${days} days ahead`,
    holdMs: LONG_MS,
    mustBeFelt: true,
    prepare: async () => {
      mkdirSync(folder, { recursive: true });
      setShift('+0');
      writeFileSync(override, JSON.stringify({ services: { [service]: withClock(folder) } }));
      await composeOrThrow('-f', override, 'up', '-d', '--no-build', '--no-deps', service);
      await until(`${service} is ready`, async () => (await readiness()) === '200 ok');
    },
    begin: async () => {
      setShift(`+${days}d`);
      await until(`${service} notices`, async () =>
        /^503 .*: the certificate of .* expired on /.test(await readiness()),
      );
      const alive = await probe(service, '/livez');
      if (alive !== '200 ok')
        throw new Error(`an expired certificate is no reason to be restarted: ${alive}`);
    },
    end: async () => setShift('+0'),
    cleanUp: async () => void (await composeOrThrow('up', '-d', '--no-build', '--no-deps', service)),
  };
}

/** What Compose lays over a service whose clock reads its shift from a file in `folder`. */
function withClock(folder: string) {
  const library = '/usr/lib/x86_64-linux-gnu/faketime';
  return {
    environment: {
      LD_PRELOAD: `${library}/libfaketimeMT.so.1`,
      FAKETIME_TIMESTAMP_FILE: '/etc/clock/shift',
      FAKETIME_CACHE_DURATION: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      DONT_FAKE_MONOTONIC: '1',
    },
    volumes: [`${library}:${library}:ro`, `${folder}:/etc/clock:ro`],
  };
}

export async function until(
  what: string,
  check: () => Promise<boolean>,
  limitMs = RESTART_LIMIT_MS,
): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
