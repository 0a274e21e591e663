import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ServiceName } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import { startable } from '#common/service/installation.ts';
import type { ServiceAddresses } from '#common/service/service-context.ts';
import type { ServiceMessage, SupervisorMessage } from '#common/service/supervision.ts';
import { systemClock } from '#common/time/clock.ts';
import { CACHE_ENVIRONMENT } from './compile-cache.ts';
import { SERVICE_ENVIRONMENT, SERVICE_FLAGS } from './service-runtime.ts';

const ENTRY = fileURLToPath(startable('./service-entry.ts', import.meta.url));

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 2_000;

/** A service that has run this long has recovered. */
const STEADY_MS = 10_000;

/** A signal to the whole process group reaches a service this much before its supervisor at most. */
const GROUP_SIGNAL_MS = 500;

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
  /** It is not started again any more. */
  #retired = false;
  #stopping = false;
  /** Somebody else told the service to stop. */
  #toldToStop = false;
  #signalled: NodeJS.Timeout | undefined;
  #delayMs = FIRST_DELAY_MS;
  #startedMs = 0;
  #restart: NodeJS.Timeout | undefined;
  #everReady = false;
  #running = false;
  /** What the service has been asked and has not answered. */
  #question: PromiseWithResolvers<readonly string[]> | undefined;
  #metricsQuestion: PromiseWithResolvers<string> | undefined;
  #restarts = 0;
  listening: Listening = {};

  constructor(name: ServiceName, options: SupervisorOptions) {
    this.name = name;
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Whether its process runs and has said that it serves. */
  get isRunning(): boolean {
    return this.#running;
  }

  /** How often it was started again. */
  get restarts(): number {
    return this.#restarts;
  }

  /** What keeps the service from its work, in words; asks it, and does not resolve while it does not answer. */
  async problems(): Promise<readonly string[]> {
    if (!this.#running) return ['being started again'];
    // One question at a time: a service that hangs reads none of them.
    if (this.#question === undefined) {
      this.#question = Promise.withResolvers();
      this.#tell({ type: 'readiness' });
    }
    return this.#question.promise;
  }

  /** Metrics of the service, in Prometheus' text format; undefined while it does not run. Does not resolve while it does not answer. */
  async metrics(): Promise<string | undefined> {
    if (!this.#running) return undefined;
    if (this.#metricsQuestion === undefined) {
      this.#metricsQuestion = Promise.withResolvers();
      this.#tell({ type: 'metrics' });
    }
    return this.#metricsQuestion.promise;
  }

  /**
   * Resolves when the service serves for the first time; rejects when it
   * cannot start at all. It loads its modules at once, and reads files and
   * certificates when `mayStart` has resolved.
   */
  start(mayStart: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#stopping) return reject(new KeyweaveError('SHUTTING_DOWN', `${this.name} was stopped`));
      this.#spawn(resolve, reject);
      void mayStart.then(() => this.#tell({ type: 'start' }));
    });
  }

  /** From now on the service may end without being started again. Before the first of several is stopped. */
  retire(): void {
    this.#retired = true;
    clearTimeout(this.#restart);
    clearTimeout(this.#signalled);
  }

  /** Stops the service for good, by force after `limitMs`. */
  async stop(limitMs = this.#options.stopLimitMs): Promise<void> {
    this.retire();
    this.#stopping = true;
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    // A signal while it starts ends it at once; once it serves it takes its leave.
    if (this.#running) this.#tell({ type: 'stop' });
    else child.kill('SIGTERM');
    const force = setTimeout(() => child.kill('SIGKILL'), limitMs);
    await exited;
    clearTimeout(force);
  }

  /** Kills the service at once and for good. */
  kill(): void {
    this.retire();
    this.#stopping = true;
    this.#child?.kill('SIGKILL');
  }

  /** Has the service open its log file anew. */
  reopenLog(): void {
    this.#tell({ type: 'reopen-log' });
  }

  #tell(message: SupervisorMessage): void {
    // One that is gone needs to be told nothing.
    this.#child?.send(message, () => undefined);
  }

  /** The signal was the service's alone unless the supervisor gets it, too, before long. */
  #onSignalled(): void {
    if (this.#stopping) this.#tell({ type: 'stop' });
    if (this.#retired) return;
    clearTimeout(this.#signalled);
    this.#signalled = setTimeout(() => {
      this.#toldToStop = true;
      this.#tell({ type: 'stop' });
    }, GROUP_SIGNAL_MS);
  }

  #answered(problems: readonly string[]): void {
    this.#question?.resolve(problems);
    this.#question = undefined;
  }

  #answeredMetrics(text: string): void {
    this.#metricsQuestion?.resolve(text);
    this.#metricsQuestion = undefined;
  }

  #spawn(onReady: () => void, onFailed: (error: KeyweaveError) => void): void {
    const { configPath, peersPath, addresses, log } = this.#options;
    const child = fork(
      ENTRY,
      [this.name, '--config', configPath, '--peers', peersPath, '--addresses', JSON.stringify(addresses)],
      {
        execArgv: [...SERVICE_FLAGS],
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        env: { ...SERVICE_ENVIRONMENT, ...process.env, ...CACHE_ENVIRONMENT },
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
      } else if (message.type === 'readiness') this.#answered(message.problems);
      else if (message.type === 'metrics') this.#answeredMetrics(message.text);
      else if (message.type === 'signalled') this.#onSignalled();
      else failure = failureOf(this.name, message);
    });
    child.once('error', (cause) => {
      failure = new KeyweaveError('INTERNAL', `${this.name} cannot be started`, { cause });
    });
    child.once('exit', (code, signal) => {
      this.#running = false;
      this.#answered(['being started again']);
      this.#answeredMetrics('');
      clearTimeout(this.#signalled);
      if (this.#retired) return;
      if (!this.#everReady) {
        onFailed(
          failure ?? new KeyweaveError('INTERNAL', `${this.name} died while starting (${signal ?? code})`),
        );
        return;
      }
      if (systemClock.monotonicMs() - this.#startedMs > STEADY_MS) this.#delayMs = FIRST_DELAY_MS;
      const exit = signal ?? code ?? 'unknown';
      const fields = { name: this.name, exit, why: failure?.detail, inMs: this.#delayMs };
      if (this.#toldToStop) log.warning('a service was told to stop and is started again', fields);
      else log.error('a service died and is started again', fields);
      this.#toldToStop = false;
      this.#restarts += 1;
      this.#restart = setTimeout(() => {
        this.#spawn(
          () => log.info('a service is back', { name: this.name }),
          () => undefined,
        );
        this.#tell({ type: 'start' });
      }, this.#delayMs);
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
