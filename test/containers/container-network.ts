import { fileURLToPath } from 'node:url';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { attempt, type CommandResult, run } from './command.ts';

export const HOME = fileURLToPath(new URL('../../', import.meta.url));

/** The three nodes of deploy/compose.yaml, each with the address of its JSON API. */
export const NODES = {
  alice: { uuid: 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa', json: { host: '10.10.11.245', port: 65_430 } },
  bob: { uuid: 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb', json: { host: '10.10.11.246', port: 65_430 } },
  charlie: { uuid: 'cccccccc-cccc-cccc-cccc-cccccccccccc', json: { host: '10.10.11.247', port: 65_430 } },
} as const;

export type NodeName = keyof typeof NODES;

export const NODE_NAMES = Object.keys(NODES) as NodeName[];

/** The pairs that share streams. */
export const PAIRS = [
  ['alice', 'bob'],
  ['alice', 'charlie'],
  ['bob', 'charlie'],
] as const satisfies readonly (readonly [NodeName, NodeName])[];

/** Every service container's name in Compose, 15 of them. */
export const SERVICES = NODE_NAMES.flatMap((node) => SERVICE_NAMES.map((service) => `${node}-${service}`));

/** The suite's runner sets them, so that a network that somebody runs for himself is left alone. */
export const PROJECT = required('KEYWEAVE_PROJECT');
export const IMAGE = required('KEYWEAVE_IMAGE');

const READY_LIMIT_MS = 60_000;

/** What `docker inspect` says, as far as the tests look. */
export interface ContainerState {
  readonly Id: string;
  readonly RestartCount: number;
  readonly State: {
    readonly Pid: number;
    readonly Running: boolean;
    readonly ExitCode: number;
    readonly OOMKilled: boolean;
    readonly StartedAt: string;
    readonly Health?: { readonly Status: string };
  };
  readonly Config: { readonly User: string; readonly Env: readonly string[] };
  readonly HostConfig: {
    readonly ReadonlyRootfs: boolean;
    readonly CapAdd: readonly string[] | null;
    readonly CapDrop: readonly string[] | null;
    readonly SecurityOpt: readonly string[] | null;
    readonly Memory: number;
    readonly PidsLimit: number;
    readonly Ulimits: readonly { readonly Name: string; readonly Hard: number }[];
  };
  readonly Mounts: readonly { readonly Name?: string; readonly Destination: string; readonly RW: boolean }[];
  readonly NetworkSettings: {
    readonly Networks: Readonly<
      Record<string, { readonly IPAddress: string; readonly Aliases: string[] | null }>
    >;
  };
}

/** Runs a docker command that must succeed. */
export function docker(...args: string[]): Promise<string> {
  return run('docker', args);
}

/** Runs a Compose command on the test's network, or says why not. */
export function compose(...args: string[]): Promise<CommandResult> {
  return attempt('deploy/network', ['compose', ...args], { cwd: HOME });
}

export async function composeOrThrow(...args: string[]): Promise<string> {
  return run('deploy/network', ['compose', ...args], { cwd: HOME });
}

/** Runs one of the Makefile's targets as a user would. */
export function make(...args: string[]): Promise<CommandResult> {
  return attempt('make', ['--no-print-directory', ...args], { cwd: HOME });
}

/** Ids of a service's containers, running or not. */
export async function containersOf(service: string): Promise<string[]> {
  const filters = [
    `label=com.docker.compose.project=${PROJECT}`,
    `label=com.docker.compose.service=${service}`,
  ];
  const ids = await docker('ps', '--all', '--quiet', ...filters.flatMap((filter) => ['--filter', filter]));
  return ids === '' ? [] : ids.split('\n');
}

/** The one container of a service. */
export async function containerOf(service: string): Promise<string> {
  const [id, ...more] = await containersOf(service);
  if (id === undefined || more.length > 0)
    throw new Error(`${service} has ${more.length + (id ? 1 : 0)} containers`);
  return id;
}

export async function inspect(id: string): Promise<ContainerState> {
  const [state] = JSON.parse(await docker('inspect', id)) as ContainerState[];
  return state as ContainerState;
}

/** The full name of one of the project's networks. */
export function networkName(network: string): string {
  return `${PROJECT}_${network}`;
}

/** The address of a container in one of the project's networks. */
export function addressIn(state: ContainerState, network: string): string {
  const address = state.NetworkSettings.Networks[networkName(network)]?.IPAddress;
  if (!address) throw new Error(`${state.Id.slice(0, 12)} has no address in ${network}`);
  return address;
}

/** Waits until every service has containers and all of them pass their health checks. */
export async function allReady(limitMs = READY_LIMIT_MS): Promise<void> {
  const end = Date.now() + limitMs;
  for (;;) {
    const waiting = await unready();
    if (waiting.length === 0) return;
    if (Date.now() > end) throw new Error(`not ready after ${limitMs} ms: ${waiting}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function unready(): Promise<string[]> {
  const well = await Promise.all(
    SERVICES.map(async (service) => {
      const states = await Promise.all((await containersOf(service)).map(inspect));
      return states.length > 0 && states.every(({ State }) => State.Health?.Status === 'healthy');
    }),
  );
  return SERVICES.filter((_, i) => !well[i]);
}

function required(name: string): string {
  const value = process.env[name];
  if (!value)
    throw new Error(
      `${name} is not set: these tests are run by 'make test-containers' and 'make test-telemetry'`,
    );
  return value;
}

/** What a service's health port says, as its container sees it: the code and the text. */
export async function probe(service: string, path: string): Promise<string> {
  const script = `fetch('http://127.0.0.1:9465${path}').then(async (answer) => console.log(answer.status, (await answer.text()).trim()))`;
  const { stdout } = await compose('exec', '-T', service, 'node', '-e', script);
  return stdout.trim();
}

/** Runs a program of this machine in the network of a container. */
export async function inNetworkOf(service: string, program: string, ...args: string[]): Promise<string> {
  const { State } = await inspect(await containerOf(service));
  return run('nsenter', ['--target', `${State.Pid}`, '--net', program, ...args]);
}
