import { asBuffer } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { isErrorReason } from '#common/errors/status-table.ts';
import type { ServiceClient } from '#common/grpc/client.ts';
import { PushQueue } from '#common/grpc/push-queue.ts';
import type { KeyPairsRequest, KeyPairsResponse, PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';

/** A batch of key pairs whose private halves live in pqc-source, in the stream that made them. */
export interface KeyPairBatch {
  readonly id: number;
  readonly publicKeys: Buffer;
  readonly session: number;
}

type Pending = {
  resolve: (bytes: Buffer) => void;
  reject: (error: KeyweaveError) => void;
  timer: NodeJS.Timeout;
};

type Operation = Omit<KeyPairsRequest, 'id'>;

/**
 * One bidirectional stream of the gateway to pqc-source. When it breaks, every
 * private key in it is gone: batches of an older session fail, and the next
 * request opens a new one.
 */
export class KemSession {
  readonly #client: ServiceClient<PqcSourceDefinition>;
  readonly #pending = new Map<number, Pending>();
  #requests: PushQueue<KeyPairsRequest> | undefined;
  #abort = new AbortController();
  #session = 0;
  #lastId = 0;
  #closed = false;

  constructor(client: ServiceClient<PqcSourceDefinition>) {
    this.#client = client;
  }

  /** Makes `count` key pairs of `algorithm`. @throws KeyweaveError UNSUPPORTED, AGREEMENT_FAILED, TIMEOUT or SERVICE_UNAVAILABLE. */
  async generate(algorithm: string, count: number, timeoutMs: number): Promise<KeyPairBatch> {
    const { id, answer } = this.#request({ generate: { algorithm, count } }, timeoutMs);
    const session = this.#session;
    return { id, publicKeys: await answer, session };
  }

  /**
   * Shared secrets, end to end, for the first keys of `batch`; uses the whole
   * batch up. The caller wipes them.
   */
  async decapsulate(batch: KeyPairBatch, ciphertexts: Buffer, timeoutMs: number): Promise<Buffer> {
    if (batch.session !== this.#session || this.#requests === undefined) {
      throw new KeyweaveError(
        'SERVICE_UNAVAILABLE',
        'pqc-source was restarted and its private keys are gone',
      );
    }
    return this.#request({ decapsulate: { keyPairsId: batch.id, ciphertexts } }, timeoutMs).answer;
  }

  /** Has the private keys of an unused batch wiped. */
  discard(batch: KeyPairBatch): void {
    if (batch.session !== this.#session) return;
    this.#discard(batch.id);
  }

  close(): void {
    this.#closed = true;
    this.#drop(new KeyweaveError('SHUTTING_DOWN', 'the gateway is stopping'));
  }

  #request(operation: Operation, timeoutMs: number): { id: number; answer: Promise<Buffer> } {
    if (this.#closed) throw new KeyweaveError('SHUTTING_DOWN', 'the gateway is stopping');
    const requests = this.#requests ?? this.#open();
    const id = ++this.#lastId;
    const answer = new Promise<Buffer>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new KeyweaveError('TIMEOUT', 'pqc-source did not answer in time'));
      }, timeoutMs);
      this.#pending.set(id, { resolve, reject, timer });
    });
    requests.push({ id, ...operation });
    return { id, answer };
  }

  #discard(keyPairsId: number): void {
    this.#requests?.push({ id: ++this.#lastId, discard: { keyPairsId } });
  }

  #open(): PushQueue<KeyPairsRequest> {
    const requests = new PushQueue<KeyPairsRequest>();
    this.#requests = requests;
    this.#session += 1;
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
    clearTimeout(pending.timer);
    const bytes = answer.publicKeys ?? answer.sharedSecrets;
    if (bytes) pending.resolve(asBuffer(bytes));
    else {
      const { reason = '', detail = 'pqc-source failed' } = answer.failure ?? {};
      pending.reject(new KeyweaveError(isErrorReason(reason) ? reason : 'AGREEMENT_FAILED', detail));
    }
  }

  #drop(error: KeyweaveError): void {
    this.#requests?.end();
    this.#requests = undefined;
    this.#abort.abort();
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(error);
    }
    this.#pending.clear();
  }
}
