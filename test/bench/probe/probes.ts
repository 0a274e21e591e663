import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { LocalNetwork } from '../../helpers/network.ts';
import { cpuMs, waitedMs } from '../../helpers/proc.ts';
import type { LoopReport } from './loop-turns.ts';
import type { ProbeOrder, ProbeReport } from './service-probe.ts';

const PROBE = fileURLToPath(new URL('./service-probe.ts', import.meta.url));
const ANSWER_LIMIT_MS = 30_000;

/** One process of a node. */
export interface Probed {
  readonly node: string;
  readonly service: string;
  readonly pid: number;
}

/** What became of one process over a measurement. */
export interface ProcessFigures extends Probed {
  /** How long the measurement took, milliseconds. */
  readonly elapsedMs: number;
  readonly cpuMs: number;
  /** Its main thread was ready and others had the cores. */
  readonly waitedMs: number;
  readonly loop: LoopReport;
}

/** The sockets of the probes' processes; to be made before the nodes start, which inherit the environment. */
export class Probes {
  readonly #folder = mkdtempSync(join(tmpdir(), 'keyweave-probes-'));
  readonly #environment = process.env.NODE_OPTIONS;
  #links: (Probed & { link: Link })[] = [];
  #startedMs = 0;
  #began = new Map<number, { cpuMs: number; waitedMs: number }>();

  constructor() {
    process.env.KEYWEAVE_PROBES = this.#folder;
    process.env.NODE_OPTIONS = `${this.#environment ?? ''} --import=${PROBE}`;
  }

  /** Every process of the network's nodes, their supervisors too. */
  async connect({ nodes }: LocalNetwork): Promise<void> {
    const processes = nodes.flatMap((node) => [
      ...Object.entries(node.services).map(([service, { pid }]) => ({ node: node.name, service, pid })),
      { node: node.name, service: 'supervisor', pid: node.process.pid as number },
    ]);
    this.#links = await Promise.all(
      processes.map(async (one) => ({ ...one, link: await Link.to(join(this.#folder, `${one.pid}.sock`)) })),
    );
  }

  /** Begins a measurement. */
  async start(): Promise<void> {
    await this.#all({ do: 'start' });
    this.#startedMs = performance.now();
    this.#began = new Map(this.#links.map(({ pid }) => [pid, spent(pid)]));
  }

  /** What has been since `start`. */
  async figures(): Promise<ProcessFigures[]> {
    const elapsedMs = performance.now() - this.#startedMs;
    const now = this.#links.map(({ pid }) => spent(pid));
    const reports = await this.#all({ do: 'read' });
    return this.#links.map(({ node, service, pid }, i) => {
      const then = this.#began.get(pid) ?? { cpuMs: 0, waitedMs: 0 };
      const used = now[i] as { cpuMs: number; waitedMs: number };
      const { loop } = reports[i] as ProbeReport;
      return {
        node,
        service,
        pid,
        elapsedMs,
        cpuMs: used.cpuMs - then.cpuMs,
        waitedMs: used.waitedMs - then.waitedMs,
        loop,
      };
    });
  }

  /** What each process holds now. */
  async heaps(): Promise<(Probed & ProbeReport['heap'])[]> {
    const reports = await this.#all({ do: 'read' });
    return this.#links.map(({ node, service, pid }, i) => ({
      node,
      service,
      pid,
      ...(reports[i] as ProbeReport).heap,
    }));
  }

  /** CPU profiles of all processes into `folder`, from here until the function that is given is called. */
  async profile(folder: string): Promise<() => Promise<void>> {
    await this.#all({ do: 'profile' });
    return async () => {
      await this.#all({ do: 'profiled', folder });
    };
  }

  close(): void {
    for (const { link } of this.#links) link.close();
    this.#links = [];
    if (this.#environment === undefined) delete process.env.NODE_OPTIONS;
    else process.env.NODE_OPTIONS = this.#environment;
    delete process.env.KEYWEAVE_PROBES;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #all(order: ProbeOrder): Promise<unknown[]> {
    return Promise.all(this.#links.map(({ link }) => link.ask(order)));
  }
}

function spent(pid: number): { cpuMs: number; waitedMs: number } {
  return { cpuMs: cpuMs(pid), waitedMs: waitedMs([pid]) };
}

/** The probe of one process: one question at a time. */
class Link {
  readonly #socket: Socket;
  readonly #lines: Interface;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#lines = createInterface({ input: socket });
  }

  static async to(path: string): Promise<Link> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new Link(socket);
  }

  async ask(order: ProbeOrder): Promise<unknown> {
    const answered = once(this.#lines, 'line', { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
    this.#socket.write(`${JSON.stringify(order)}\n`);
    const [line] = await answered;
    return JSON.parse(line as string);
  }

  close(): void {
    this.#lines.close();
    this.#socket.destroy();
  }
}
