import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ServiceName } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import type { ServiceAddresses } from '#common/service/service-context.ts';
import { systemClock } from '#common/time/clock.ts';
import type { ServiceMessage } from './commands/service.ts';
import { CACHE_ENVIRONMENT } from './compile-cache.ts';

const ENTRY = fileURLToPath(new URL('./service-entry.ts', import.meta.url));
/** The small young generation keeps an idle node's five processes within 450 MB. */
const SERVICE_FLAGS = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=4'] as const;

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 2_000;

/** A service that has run this long has recovered. */
const STEADY_MS = 10_000;

export interface SupervisorOptions {
  configPath: string;
  peersPath: string;
  addresses: ServiceAddresses;
  log: Log;
  /** Longest wait for a service to stop by itself. */
  stopLimitMs: number;
}

type Listening = Extract<ServiceMessage, { type: 'ready' }>['listening'];

/** Runs one service as a child process and starts it again when it dies, ever less often. */
export class ServiceSupervisor {
  readonly name: ServiceName;
  readonly #options: SupervisorOptions;
  #child: ChildProcess | undefined;
  #stopping = false;
  #delayMs = FIRST_DELAY_MS;
  #startedMs = 0;
  #restart: NodeJS.Timeout | undefined;
  #everReady = false;
  #running = false;
  listening: Listening = {};

  constructor(name: ServiceName, options: SupervisorOptions) {
    this.name = name;
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Whether the service serves now. */
  get running(): boolean {
    return this.#running;
  }

  /** Resolves when the service serves for the first time; rejects when it cannot start at all. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#stopping) reject(new KeyweaveError('SHUTTING_DOWN', `${this.name} was stopped`));
      else this.#spawn(resolve, reject);
    });
  }

  /** Stops the service for good, by force after `limitMs`. */
  async stop(limitMs = this.#options.stopLimitMs): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restart);
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGTERM');
    const force = setTimeout(() => child.kill('SIGKILL'), limitMs);
    await exited;
    clearTimeout(force);
  }

  /** Kills the service at once and for good. */
  kill(): void {
    this.#stopping = true;
    clearTimeout(this.#restart);
    this.#child?.kill('SIGKILL');
  }

  #spawn(onReady: () => void, onFailed: (error: KeyweaveError) => void): void {
    const { configPath, peersPath, addresses, log } = this.#options;
    const child = fork(
      ENTRY,
      [this.name, '--config', configPath, '--peers', peersPath, '--addresses', JSON.stringify(addresses)],
      {
        execArgv: [...SERVICE_FLAGS],
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        env: { ...process.env, ...CACHE_ENVIRONMENT },
      },
    );
    this.#child = child;
    this.#startedMs = systemClock.monotonicMs();
    let failure: KeyweaveError | undefined;
    child.on('message', (message: ServiceMessage) => {
      if (message.type === 'ready') {
        this.listening = message.listening;
        this.#everReady = true;
        this.#running = true;
        onReady();
      } else failure = failureOf(this.name, message);
    });
    child.once('error', (cause) => {
      failure = new KeyweaveError('INTERNAL', `${this.name} cannot be started`, { cause });
    });
    child.once('exit', (code, signal) => {
      this.#running = false;
      if (this.#stopping) return;
      if (!this.#everReady) {
        onFailed(
          failure ?? new KeyweaveError('INTERNAL', `${this.name} died while starting (${signal ?? code})`),
        );
        return;
      }
      if (systemClock.monotonicMs() - this.#startedMs > STEADY_MS) this.#delayMs = FIRST_DELAY_MS;
      log.error('a service died and is started again', {
        service: this.name,
        exit: signal ?? code ?? 'unknown',
        why: failure?.detail,
        inMs: this.#delayMs,
      });
      this.#restart = setTimeout(
        () =>
          this.#spawn(
            () => log.info('a service is back', { service: this.name }),
            () => undefined,
          ),
        this.#delayMs,
      );
      this.#delayMs = Math.min(LONGEST_DELAY_MS, this.#delayMs * 2);
    });
  }
}

/** What a service has told of its failed start, with the system's code where there is one. */
function failureOf(
  name: ServiceName,
  { reason, detail, systemCode }: Extract<ServiceMessage, { type: 'failed' }>,
): KeyweaveError {
  const cause = systemCode && Object.assign(new Error(systemCode), { code: systemCode });
  return new KeyweaveError(reason, `${name}: ${detail}`, { cause });
}
