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
    return { results, blockBytes: this.blockBytes };
  }

  async close(request: CloseQkdRequest): Promise<void> {
    this.closed.push(request);
  }

  async #give(fetch: QkdFetch): Promise<Outcome<Buffer>> {
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
