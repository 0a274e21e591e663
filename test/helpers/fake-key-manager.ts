import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { isSound, type Outcome } from '#common/errors/outcome.ts';
import type { CloseQkdRequest, OpenQkdRequest, QkdFetch } from '#gen/keyweave/v1/qkd_source.ts';
import type { FetchedKeys, QkdClient } from '../../services/gateway/clients/qkd-client.ts';

/** Bytes of one QKD key. */
export const KEY_BYTES = 32;

/** The key of a number, which tells it; the same at both ends, and never zeros. */
export function keyOf(epoch: number, number: number): Buffer {
  const key = Buffer.alloc(KEY_BYTES, 0xee);
  key.writeUInt32BE(epoch, 0);
  key.writeUInt32BE(number, 4);
  return key;
}

export function keysFrom(epoch: number, first: number, count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, i) => keyOf(epoch, first + i)));
}

/** The numbers of keys that lie end to end. */
export function numbersOf(keys: Buffer): number[] {
  return Array.from({ length: keys.length / KEY_BYTES }, (_, i) => keys.readUInt32BE(i * KEY_BYTES + 4));
}

/** What a key manager that names its keys calls one; the same at both ends. */
export const keyName = (epoch: number, number: number) => Buffer.from(`key ${epoch} ${number}`);

/** One end's key manager, which gives what a test lets it give, and notes what it is asked. */
export class FakeKeyManager implements QkdClient {
  readonly opened: OpenQkdRequest[] = [];
  readonly closed: CloseQkdRequest[] = [];
  readonly fetches: QkdFetch[] = [];
  /** Every memory that it gave keys in, which others have to wipe. */
  readonly given: Buffer[] = [];
  /** Keys that it has to give. */
  left = Number.POSITIVE_INFINITY;
  /** Bytes of the largest key that it is known to give. */
  blockBytes = 0;
  /** Whether it names its keys, and gives those that are named, each once. */
  namesKeys = false;
  readonly #found = new Set<string>();
  /** Set them to have it answer when and what the test says. */
  onOpen: (request: OpenQkdRequest, signal: AbortSignal) => Promise<string> = async ({ epoch }) =>
    `kme-${epoch}`;
  onFetch: (keys: Buffer, fetch: QkdFetch) => Promise<Outcome<Buffer>> = async (keys) => keys;

  open(request: OpenQkdRequest, signal: AbortSignal): Promise<string> {
    this.opened.push(request);
    return this.onOpen(request, signal);
  }

  async fetch(fetches: readonly QkdFetch[]): Promise<FetchedKeys> {
    this.fetches.push(...fetches);
    const results = await Promise.all(fetches.map((fetch) => this.#give(fetch)));
    const names = fetches.map((fetch, i) => this.#namesOf(fetch, results[i]));
    return { results, blockBytes: this.blockBytes, ...(this.namesKeys && { names }) };
  }

  async close(request: CloseQkdRequest): Promise<void> {
    this.closed.push(request);
  }

  #namesOf({ epoch, position, keyNames }: QkdFetch, keys: Outcome<Buffer> | undefined): Buffer[] {
    if (keyNames.length > 0 || keys === undefined || !isSound(keys)) return [];
    const first = Number(position);
    return Array.from({ length: keys.length / KEY_BYTES }, (_, i) => keyName(epoch, first + i));
  }

  async #find(fetch: QkdFetch): Promise<Outcome<Buffer>> {
    const names = fetch.keyNames.map((name) => Buffer.from(name).toString());
    const known = names.map((name) => /^key (\d+) (\d+)$/.exec(name));
    if (names.some((name, i) => !known[i] || this.#found.has(name))) {
      return new KeyweaveError('QKD_UNAVAILABLE', 'no such key');
    }
    for (const name of names) this.#found.add(name);
    const keys = Buffer.concat(known.map((match) => keyOf(Number(match?.[1]), Number(match?.[2]))));
    const result = await this.onFetch(keys, fetch);
    if (isSound(result)) this.given.push(result);
    return result;
  }

  async #give(fetch: QkdFetch): Promise<Outcome<Buffer>> {
    if (fetch.keyNames.length > 0) return this.#find(fetch);
    const { epoch, position, count, keyBytes } = fetch;
    const blockKeys = keyBytes / KEY_BYTES;
    const blocks = Math.min(count, Math.floor(this.left / blockKeys));
    this.left -= blocks * blockKeys;
    const keys = keysFrom(epoch, Number(position) * blockKeys, blocks * blockKeys);
    const result = await this.onFetch(keys, fetch);
    if (isSound(result)) this.given.push(result);
    return result;
  }
}
