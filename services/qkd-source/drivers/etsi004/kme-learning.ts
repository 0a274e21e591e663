import { setTimeout as delay } from 'node:timers/promises';
import type { NodeConfig } from '#common/config/node-config.ts';
import { wipe } from '#common/crypto/bytes.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { ETSI004_STATUS } from '#common/errors/status-table.ts';
import type { AnswerClient } from '#common/etsi/answer-client.ts';
import type { Log } from '#common/log/log.ts';
import { waitFor } from '#common/time/wait-for.ts';
import { SECRET_BYTES } from '../../secret-bytes.ts';
import { Attempts, type Outcome } from './attempts.ts';
import { type Etsi004Dialect, isOpen, type KmeAnswer } from './etsi004-dialect.ts';
import { takeKey, wipeAnswer } from './key-reader.ts';
import type { KmeConnections } from './kme-connections.ts';
import { MAX_WINDOW } from './pipeline-window.ts';

/**
 * Limit of one call of a probe, and of the wait between two answers that belong
 * together: a key manager that serves one connection at a time is kept from
 * its applications for no longer than this.
 */
const CALL_LIMIT_MS = 800;
const GAP_LIMIT_MS = 400;

/** Bursts that lose answers before the key manager is known to take one request at a time. */
const MAX_LOST_BURSTS = 2;

/** Secrets in the key that shows whether more than one is given at once: all that a probe takes. */
const SAMPLE_SECRETS = 2;

/** Samples whose answer is lost, and maybe the key with it, before blocks are given up. */
const MAX_LOST_SAMPLES = 2;

/** Pause before a key manager that has no key yet, since the other end has not come, is asked again. */
const SAMPLE_PAUSE_MS = 100;

/** The two nodes between which a stream is being opened. */
export interface Between {
  readonly sourceNode: string;
  readonly destinationNode: string;
}

/**
 * What a key manager bears beyond one request for one key at a time, learnt on
 * connections and streams of its own, which no application waits for:
 *
 * - several requests at once: GET_KEYs for a stream that nobody has opened, one
 *   alone, then many in one piece, since what is sent piece by piece may be
 *   read so by luck. Each must be refused in the same words. Needs no other
 *   end and takes no key.
 * - blocks, which are several keys as one: OPEN_CONNECT for a block, and one
 *   key of two secrets on another stream. Both ends name these streams alike and try
 *   when a stream is opened between them, so that they meet at key managers
 *   that wait for both. Takes two secrets, and two more at most where an answer
 *   was lost.
 *
 * Until that is known, and where the configuration says so, it is one request
 * at a time and single keys.
 */
export class KmeLearning<A> {
  readonly #dialect: Etsi004Dialect<A>;
  readonly #connections: KmeConnections<A>;
  readonly #settings: NodeConfig['qkd'];
  readonly #log: Log;
  readonly #requests: Attempts;
  readonly #blocks: Attempts;
  /** Between which nodes a stream was opened last. */
  #between: Between | undefined;
  #lostBursts = 0;
  #lostSamples = 0;
  #blockBytes = 0;

  /** @param options.now monotonic milliseconds. */
  constructor(options: {
    dialect: Etsi004Dialect<A>;
    connections: KmeConnections<A>;
    settings: NodeConfig['qkd'];
    log: Log;
    now: () => number;
  }) {
    this.#dialect = options.dialect;
    this.#connections = options.connections;
    this.#settings = options.settings;
    this.#log = options.log;
    this.#requests = new Attempts(options.now);
    this.#blocks = new Attempts(options.now);
  }

  /** Largest key that the key manager is known to give at once, bytes; 0: not known to give blocks. */
  get blockBytes(): number {
    return this.#blockBytes;
  }

  /** Finds out what is not known and may be tried now; never rejects. */
  async learn(between?: Between): Promise<void> {
    const { pipeline, connection, block_keys: blockKeys } = this.#settings;
    if (pipeline === 'off') return;
    if (between) this.#between = between;
    const work: Promise<void>[] = [];
    if (connection !== 'per-call' && this.#requests.due) {
      work.push(this.#requests.run(() => this.#probeRequests()).then(() => this.#sayIfSpent()));
    }
    const both = this.#between;
    if (both && blockKeys > 1) work.push(this.#blocks.run(() => this.#probeBlocks(both)));
    await Promise.all(work);
  }

  /** A burst of an application has failed: it is one request at a time until the key manager has shown itself anew. */
  lostAnswers(): void {
    if (!this.#connections.window.isOpen) return;
    this.#connections.window.shut();
    this.#requests.again();
    this.#log.warning('requests to the key manager failed together; it gets one at a time for now');
  }

  /** The key manager has not given a key of `keyBytes` that it was thought to give: it gets no more such requests. */
  refusedBlock(keyBytes: number): void {
    if (keyBytes <= SECRET_BYTES || this.#blockBytes === 0) return;
    this.#blockBytes = 0;
    this.#log.warning('the key manager does not give a block of keys; single keys from now on', { keyBytes });
  }

  async #probeRequests(): Promise<Outcome> {
    const connection = await this.#connect();
    if (!connection) return 'unreached';
    try {
      const handle = crypto.randomUUID();
      let position = 0n;
      const requests = (count: number) =>
        Array.from({ length: count }, () => this.#dialect.getKey(handle, position++));
      const [alone] = await this.#answersTo(connection, requests(1));
      if (!alone) return 'unknown';
      if (alone.status === ETSI004_STATUS.SUCCESS) {
        wipeAnswer(alone);
        return this.#oneAtATime('it gives keys of streams that nobody has opened');
      }
      if (!(await this.#connections.staysOpen(connection))) {
        return this.#oneAtATime('it closes the connection after each answer');
      }
      const together = await this.#answersTo(connection, requests(MAX_WINDOW));
      const [after] = together.length === MAX_WINDOW ? await this.#answersTo(connection, requests(1)) : [];
      if (after && [...together, after].every((answer) => isSameRefusal(answer, alone))) {
        this.#connections.window.open();
        this.#log.info('the key manager takes several requests at once', { requests: MAX_WINDOW });
        return 'known';
      }
      this.#lostBursts += 1;
      if (this.#lostBursts < MAX_LOST_BURSTS) return 'unknown';
      return this.#oneAtATime(`of ${MAX_WINDOW} requests sent together it answered ${together.length}`);
    } finally {
      connection.destroy();
    }
  }

  #oneAtATime(why: string): Outcome {
    this.#log.info('the key manager takes one request at a time', { why });
    return 'known';
  }

  #sayIfSpent(): void {
    if (this.#requests.spent) {
      this.#log.info('the key manager gets one request at a time', {
        why: 'it did not show that it takes more',
      });
    }
  }

  async #probeBlocks(between: Between): Promise<Outcome> {
    const keys = this.#settings.block_keys;
    const bytes = keys * SECRET_BYTES;
    const whole = await this.#open(between, bytes);
    if (whole === 'refused') return this.#singleKeys(`it does not open streams of ${bytes}-byte keys`);
    if (typeof whole === 'string') return whole;
    await this.#close(whole.handle);
    const sampleBytes = SAMPLE_SECRETS * SECRET_BYTES;
    const sample = await this.#open(between, sampleBytes);
    if (sample === 'refused') return this.#singleKeys(`it does not open streams of ${sampleBytes}-byte keys`);
    if (typeof sample === 'string') return sample;
    try {
      const outcome = await this.#takeSample(sample.handle, sampleBytes);
      if (outcome === 'refused')
        return this.#singleKeys(`it did not give a key of ${sampleBytes} bytes as agreed`);
      if (outcome === 'known') {
        this.#blockBytes = bytes;
        this.#log.info('the key manager gives blocks of keys', { keys, bytes, taken: SAMPLE_SECRETS });
      }
      return outcome;
    } finally {
      await this.#close(sample.handle);
    }
  }

  #singleKeys(why: string): Outcome {
    this.#log.info('the key manager gives single keys', { why });
    return 'known';
  }

  /** Opens a stream of the probe's own, named by its size so that both ends name it alike. */
  async #open(between: Between, keyBytes: number): Promise<{ handle: string } | 'refused' | Outcome> {
    const name = `qkd://keyweave-probe-${keyBytes}`;
    const uris = {
      source: `${name}@${between.sourceNode}`,
      destination: `${name}@${between.destinationNode}`,
    };
    const join = this.#dialect.probeId(uris);
    const answer = await this.#ask(
      this.#dialect.openConnect({ uris, keyBytes, timeoutMs: CALL_LIMIT_MS, join }),
    );
    if (answer === 'unreached') return answer;
    if (!answer) return 'unknown';
    if (!isOpen(answer)) return answer.status === ETSI004_STATUS.QOS_NOT_MET ? 'refused' : 'unknown';
    const { handle } = answer;
    if ((answer.chunkBytes ?? keyBytes) === keyBytes) return { handle };
    await this.#close(handle);
    return 'refused';
  }

  /** One key, of which nothing is kept; the other end may take a moment to come. */
  async #takeSample(handle: string, keyBytes: number): Promise<'refused' | Outcome> {
    for (let waitedMs = 0; waitedMs < CALL_LIMIT_MS; waitedMs += SAMPLE_PAUSE_MS) {
      const answer = await this.#ask(this.#dialect.getKey(handle, 0n));
      if (answer === 'unreached') return answer;
      if (!answer) return ++this.#lostSamples < MAX_LOST_SAMPLES ? 'unknown' : 'refused';
      if (answer.status === ETSI004_STATUS.SUCCESS) {
        try {
          wipe(takeKey(answer, keyBytes));
          return 'known';
        } catch {
          return 'refused';
        }
      }
      await delay(SAMPLE_PAUSE_MS, undefined, { ref: false });
    }
    return 'unknown';
  }

  /** One call on a connection of its own; undefined when no answer came in time. */
  async #ask(request: Buffer): Promise<KmeAnswer | 'unreached' | undefined> {
    const connection = await this.#connect();
    if (!connection) return 'unreached';
    try {
      return (await this.#answersTo(connection, [request]))[0];
    } finally {
      connection.destroy();
    }
  }

  async #close(handle: string): Promise<void> {
    const request = this.#dialect.close(handle);
    if (request) await this.#ask(request);
  }

  async #connect(): Promise<AnswerClient<A> | undefined> {
    try {
      return await this.#connections.fresh(AbortSignal.timeout(CALL_LIMIT_MS));
    } catch (error) {
      if (isReason(error, 'QKD_UNAVAILABLE')) return undefined;
      throw error;
    }
  }

  /** Sends the requests in one piece; gives the answers in order, up to the first that does not come in time. */
  async #answersTo(connection: AnswerClient<A>, requests: readonly Buffer[]): Promise<KmeAnswer[]> {
    const coming = connection.requestTogether(requests).map((answer) => answer.catch(() => undefined));
    const answers: KmeAnswer[] = [];
    for (const answer of coming) {
      const given = await waitFor(answer, answers.length === 0 ? CALL_LIMIT_MS : GAP_LIMIT_MS);
      if (given === undefined || given === null) break;
      answers.push(this.#dialect.read(given));
    }
    return answers;
  }
}

/** @param alone a refusal, of a request that was sent by itself. */
function isSameRefusal(answer: KmeAnswer, alone: KmeAnswer): boolean {
  const hasKey = answer.key !== undefined;
  wipeAnswer(answer);
  return !hasKey && answer.status === alone.status && answer.message === alone.message;
}
