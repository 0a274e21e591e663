import type { LocalNode } from './network.ts';
import { isAlive, rssMb, socketsOf } from './proc.ts';

const INSPECTOR_LIMIT_MS = 10_000;

/** What one service holds, after garbage has been collected. */
export interface Holding {
  /** Resident memory, MB. */
  readonly rssMb: number;
  /** Objects and the memory outside of the heap that they hold, MB. */
  readonly liveMb: number;
  readonly sockets: number;
}

/**
 * Looks at the services of nodes from outside: their processes, sockets and
 * memory, with the run time's inspector to collect garbage first, since a
 * service that is idle has no reason to. Needs the environment of
 * `inspectable` and the nodes' console logs.
 */
export class ServiceWatch {
  readonly #inspectors = new Map<string, Inspector>();
  #listening: ((url: string) => void) | undefined;

  /** For the nodes' environment: inspectors that are switched on later take a free port. */
  static readonly inspectable = { NODE_OPTIONS: '--inspect-port=127.0.0.1:0' } as const;

  /** Takes a line of a node's console. */
  line(text: string): void {
    const url = /Debugger listening on (ws:\S+)/.exec(text)?.[1];
    if (url) this.#listening?.(url);
  }

  /** By `<node> <service>`. */
  async holdings(nodes: readonly LocalNode[]): Promise<Map<string, Holding>> {
    const found = new Map<string, Holding>();
    for (const node of nodes) {
      for (const [service, { pid }] of Object.entries(node.services)) {
        const name = `${node.name} ${service}`;
        const inspector = this.#inspectors.get(name) ?? (await this.#inspect(name, pid));
        const liveMb = await inspector.liveMb();
        found.set(name, { rssMb: rssMb(pid), liveMb, sockets: socketsOf(pid) });
      }
    }
    return found;
  }

  /** Before the nodes are stopped: a process that is inspected does not end. */
  close(): void {
    for (const inspector of this.#inspectors.values()) inspector.close();
    this.#inspectors.clear();
  }

  async #inspect(name: string, pid: number): Promise<Inspector> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const timer = setTimeout(() => reject(new Error(`${name} cannot be inspected`)), INSPECTOR_LIMIT_MS);
    this.#listening = resolve;
    process.kill(pid, 'SIGUSR1');
    const inspector = await Inspector.connect(await promise);
    clearTimeout(timer);
    this.#inspectors.set(name, inspector);
    return inspector;
  }
}

/** Services that no longer have the process that they had when their node was ready. */
export function deadServices(nodes: readonly LocalNode[]): string[] {
  return nodes.flatMap((node) =>
    Object.entries(node.services).flatMap(([service, { pid }]) =>
      isAlive(pid) ? [] : [`${node.name} ${service}`],
    ),
  );
}

/** The inspector of one process. */
class Inspector {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (result: unknown) => void>();
  #next = 1;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => {
      const { id, result } = JSON.parse(String(data)) as { id: number; result: unknown };
      this.#waiting.get(id)?.(result);
      this.#waiting.delete(id);
    });
  }

  static async connect(url: string): Promise<Inspector> {
    const socket = new WebSocket(url);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener('open', () => resolve(), { once: true });
      socket.addEventListener('error', () => reject(new Error(`no inspector at ${url}`)), { once: true });
    });
    return new Inspector(socket);
  }

  async liveMb(): Promise<number> {
    // What is finalised in one collection is freed in the next.
    for (let i = 0; i < 2; i++) await this.#call('HeapProfiler.collectGarbage', {});
    const expression = '(({ heapUsed, external }) => heapUsed + external)(process.memoryUsage())';
    const answer = (await this.#call('Runtime.evaluate', { expression })) as { result: { value: number } };
    return answer.result.value / 1_048_576;
  }

  close(): void {
    this.#socket.close();
  }

  #call(method: string, params: object): Promise<unknown> {
    const id = this.#next++;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }
}
