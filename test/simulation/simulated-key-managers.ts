import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { FetchKeysRequest, FetchKeysResponse, OpenQkdRequest } from '#gen/keyweave/v1/qkd_source.ts';
import type { Prng } from './prng.ts';
import type { Secrets, SimulatedService } from './simulated-sources.ts';
import type { SimulatedProcess } from './simulated-time.ts';
import { Sponge } from './sponge.ts';

/** What one end's key manager does wrong at the moment. */
export interface KeyManagerFaults {
  /** Refuses everything. */
  down: boolean;
  /** Gives the key before the next one, or the one after it, with that probability: this end only. */
  repeats: number;
  skips: number;
  /** Gives no key. */
  dry: boolean;
}

interface QkdStreamEnd {
  position: number;
}

/** Two key managers that hold the same keys: each end reads the sequence of a stream on its own. */
export class SimulatedKeyManagers {
  readonly #random: Prng;
  readonly #secrets: Secrets;
  readonly #ids = new Map<string, string>();
  /** What each node reads, by its name and that of the stream. */
  readonly #ends = new Map<string, QkdStreamEnd>();
  readonly #faults = new Map<string, KeyManagerFaults>();

  constructor(random: Prng, secrets: Secrets) {
    this.#random = random;
    this.#secrets = secrets;
  }

  faultsOf(node: string): KeyManagerFaults {
    let faults = this.#faults.get(node);
    if (!faults) {
      faults = { down: false, repeats: 0, skips: 0, dry: false };
      this.#faults.set(node, faults);
    }
    return faults;
  }

  /** Streams that somebody has opened and nobody has closed, by node. */
  openStreams(): string[] {
    return [...this.#ends.keys()];
  }

  /** qkd-source of `node`, as its gateway calls it. */
  qkdSourceOf(node: string, service: SimulatedService, caller: SimulatedProcess) {
    const options = (given: unknown) => given as { timeoutMs: number; signal?: AbortSignal };
    return {
      openQkd: (request: OpenQkdRequest, given: unknown) => {
        const { timeoutMs, signal } = options(given);
        return service.call(caller, timeoutMs, () => ({ qkdKeyStreamId: this.#open(node, request) }), signal);
      },
      fetchKeys: (request: FetchKeysRequest, given: unknown) =>
        service.call(caller, options(given).timeoutMs, () => this.#fetch(node, request, caller)),
      closeQkd: (request: { keyStreamId: Uint8Array; epoch: number }, given: unknown) => {
        // Where it cannot be told, the key manager closes by itself what nobody reads.
        this.#ends.delete(endOf(node, request));
        return service.call(caller, options(given).timeoutMs, () => ({}));
      },
    };
  }

  #open(node: string, request: OpenQkdRequest): string {
    if (this.faultsOf(node).down) throw new KeyweaveError('QKD_UNAVAILABLE', 'the key manager is down');
    const name = nameOf(request);
    const known = this.#ids.get(name) ?? `kme-${this.#random.uuid()}`;
    if (request.qkdKeyStreamId !== '' && request.qkdKeyStreamId !== known) {
      throw new KeyweaveError('QKD_UNAVAILABLE', 'the key manager knows no such stream');
    }
    this.#ids.set(name, known);
    this.#ends.set(endOf(node, request), { position: 0 });
    return known;
  }

  #fetch(node: string, { fetches }: FetchKeysRequest, holder: SimulatedProcess): FetchKeysResponse {
    return {
      blockBytes: 64 * 32,
      results: fetches.map((fetch) => {
        const nothing = Buffer.alloc(0);
        const fail = (reason: 'QKD_UNAVAILABLE' | 'QKD_OUT_OF_STEP', detail: string) => ({
          keys: nothing,
          failure: { reason, detail },
          keyNames: [],
        });
        const faults = this.faultsOf(node);
        const end = this.#ends.get(endOf(node, fetch));
        if (faults.down || !end) return fail('QKD_UNAVAILABLE', 'the key manager is down');
        if (BigInt(end.position) !== fetch.position)
          return fail('QKD_OUT_OF_STEP', 'the stream does not stand there');
        if (faults.dry) return { keys: nothing, failure: undefined, keyNames: [] };
        const keys = this.#secrets.give(
          'QKD keys',
          Buffer.allocUnsafeSlow(fetch.count * fetch.keyBytes),
          holder,
        );
        for (let i = 0; i < fetch.count; i++) {
          const wrong = this.#random.chance(faults.skips) ? 1 : this.#random.chance(faults.repeats) ? -1 : 0;
          fillKey(
            keys.subarray(i * fetch.keyBytes, (i + 1) * fetch.keyBytes),
            nameOf(fetch),
            end.position + i + wrong,
          );
        }
        end.position += fetch.count;
        return { keys, failure: undefined, keyNames: [] };
      }),
    };
  }

  /** Nobody reads the streams of `node` any more. */
  closeAll(node: string): void {
    for (const end of this.#ends.keys()) if (end.startsWith(`${node}:`)) this.#ends.delete(end);
  }
}

function fillKey(into: Buffer, stream: string, position: number): void {
  new Sponge().absorb(Buffer.from(stream)).absorbNumber(position).squeeze(into);
}

function nameOf({ keyStreamId, epoch }: { keyStreamId: Uint8Array; epoch: number }): string {
  return `${Buffer.from(keyStreamId).toString('hex')}/${epoch}`;
}

function endOf(node: string, stream: { keyStreamId: Uint8Array; epoch: number }): string {
  return `${node}:${nameOf(stream)}`;
}
