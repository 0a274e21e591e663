import { asBuffer } from '#common/crypto/bytes.ts';
import { errorOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ServiceClient } from '#common/grpc/client.ts';
import { PushQueue } from '#common/grpc/push-queue.ts';
import type { Clock, Timer } from '#common/time/clock.ts';
import type { KeyPairsRequest, KeyPairsResponse, PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import { generateTimeoutMs, STEP_TIMEOUT_MS } from './step-limits.ts';

/** A batch of key pairs whose private halves live in pqc-source, in the session that made them. */
export interface SessionKeyPairs {
  readonly id: number;
  readonly publicKeys: Buffer;
  /** Which opening of the session: a stream that broke took its private keys along. */
  readonly opening: number;
}

interface Pending {
  readonly answered: PromiseWithResolvers<Buffer>;
  readonly timer: Timer;
}

type Operation = Omit<KeyPairsRequest, 'id'>;

/**
 * One bidirectional stream of the gateway to pqc-source. When it breaks, every
 * private key in it is gone: batches of an older opening fail, and the next
 * request opens a new one.
 */
export class KemSession {
  readonly #client: Pick<ServiceClient<PqcSourceDefinition>, 'keyPairs'>;
  readonly #clock: Pick<Clock, 'after'>;
  readonly #pending = new Map<number, Pending>();
  #requests: PushQueue<KeyPairsRequest> | undefined;
  #abort = new AbortController();
  #opening = 0;
  #lastId = 0;
  #closed = false;

  constructor(client: Pick<ServiceClient<PqcSourceDefinition>, 'keyPairs'>, clock: Pick<Clock, 'after'>) {
    this.#client = client;
    this.#clock = clock;
  }

  /** Makes `count` key pairs of `algorithm`. @throws KeyweaveError UNSUPPORTED, AGREEMENT_FAILED, TIMEOUT or SERVICE_UNAVAILABLE. */
  async generate(algorithm: string, count: number): Promise<SessionKeyPairs> {
    const { id, answer } = this.#request({ generate: { algorithm, count } }, generateTimeoutMs(algorithm));
    const opening = this.#opening;
    return { id, publicKeys: await answer, opening };
  }

  /**
   * Shared secrets, end to end, for the first keys of `batch`; uses the whole
   * batch up. The caller wipes them.
   */
  async decapsulate(batch: SessionKeyPairs, ciphertexts: Uint8Array): Promise<Buffer> {
    if (batch.opening !== this.#opening || this.#requests === undefined) {
      throw new KeyweaveError(
        'SERVICE_UNAVAILABLE',
        'pqc-source was restarted and its private keys are gone',
      );
    }
    const decapsulate = { keyPairsId: batch.id, ciphertexts };
    return this.#request({ decapsulate }, STEP_TIMEOUT_MS.decapsulate).answer;
  }

  /** Has the private keys of an unused batch wiped. */
  discard(batch: SessionKeyPairs): void {
    if (batch.opening === this.#opening) this.#discard(batch.id);
  }

  close(): void {
    this.#closed = true;
    this.#drop(new KeyweaveError('SHUTTING_DOWN', 'the gateway is stopping'));
  }

  #request(operation: Operation, timeoutMs: number): { id: number; answer: Promise<Buffer> } {
    if (this.#closed) throw new KeyweaveError('SHUTTING_DOWN', 'the gateway is stopping');
    const requests = this.#requests ?? this.#open();
    const id = ++this.#lastId;
    const answered = Promise.withResolvers<Buffer>();
    const timer = this.#clock.after(timeoutMs, () => {
      this.#pending.delete(id);
      answered.reject(new KeyweaveError('TIMEOUT', 'pqc-source did not answer in time'));
    });
    this.#pending.set(id, { answered, timer });
    requests.push({ id, ...operation });
    return { id, answer: answered.promise };
  }

  #discard(keyPairsId: number): void {
    this.#requests?.push({ id: ++this.#lastId, discard: { keyPairsId } });
  }

  #open(): PushQueue<KeyPairsRequest> {
    const requests = new PushQueue<KeyPairsRequest>();
    this.#requests = requests;
    this.#opening += 1;
    this.#abort = new AbortController();
    void this.#read(requests, this.#abort.signal);
    return requests;
  }

  async #read(requests: PushQueue<KeyPairsRequest>, signal: AbortSignal): Promise<void> {
    let error = new KeyweaveError('SERVICE_UNAVAILABLE', 'pqc-source has ended the stream');
    try {
      const answers = this.#client.keyPairs(requests, { signal, timeoutMs: Number.POSITIVE_INFINITY });
      for await (const answer of answers) this.#settle(answer);
    } catch (thrown) {
      if (thrown instanceof KeyweaveError) error = thrown;
    }
    this.#drop(error);
  }

  #settle(answer: KeyPairsResponse): void {
    const pending = this.#pending.get(answer.id);
    if (!pending) {
      answer.sharedSecrets?.fill(0);
      // Whoever wanted the key pairs has gone; their private halves would stay for as long as the stream.
      if (answer.publicKeys) this.#discard(answer.id);
      return;
    }
    this.#pending.delete(answer.id);
    pending.timer.cancel();
    const bytes = answer.publicKeys ?? answer.sharedSecrets;
    if (bytes) pending.answered.resolve(asBuffer(bytes));
    else {
      const failure = answer.failure ?? { reason: 'AGREEMENT_FAILED', detail: 'pqc-source failed' };
      pending.answered.reject(errorOf(failure));
    }
  }

  #drop(error: KeyweaveError): void {
    this.#requests?.end();
    this.#requests = undefined;
    this.#abort.abort();
    for (const { timer, answered } of this.#pending.values()) {
      timer.cancel();
      answered.reject(error);
    }
    this.#pending.clear();
  }
}
