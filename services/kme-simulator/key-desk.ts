import { ETSI004_STATUS } from '#common/errors/status-table.ts';
import type { Faults } from './faults.ts';
import type { SimulatedLink } from './link.ts';

const MAX_CHUNK_BYTES = 65_536;
const DEFAULT_OPEN_TIMEOUT_MS = 10_000;

/** Sizes of keys of which the last is remembered. */
const MAX_SIZES = 64;

export interface KeyDeskOptions {
  readonly link: SimulatedLink;
  /** Which end of the link this is. */
  readonly end: number;
  /** OPEN_CONNECT answers only when the other end has come too. */
  readonly blocking: boolean;
  readonly faults: Faults;
}

/** An OPEN_CONNECT, in whatever form it came. */
export interface OpenOrder {
  readonly source: string;
  readonly destination: string;
  readonly chunkBytes: number;
  /** How long the caller waits, milliseconds; 0 for the default. */
  readonly timeoutMs: number;
  readonly ksid: string | undefined;
  /** Fires when the caller has gone. */
  readonly gone: AbortSignal;
}

export type Opened =
  | { readonly status: 0; readonly ksid: string; readonly chunkBytes: number }
  | { readonly status: number; readonly ksid?: undefined };

/** What one key manager does for its callers, whatever they speak: ETSI GS QKD 004 V2.1.1, 6.1, with its faults. */
export class KeyDesk {
  readonly #options: KeyDeskOptions;
  /** The key given last, in whichever stream, by its size. */
  readonly #last = new Map<number, Buffer>();
  #delivered = 0;
  #deliveredBytes = 0;

  constructor(options: KeyDeskOptions) {
    this.#options = options;
  }

  /** Keys handed out by this end. */
  get delivered(): number {
    return this.#delivered;
  }

  /** Bytes of them. */
  get deliveredBytes(): number {
    return this.#deliveredBytes;
  }

  async open(order: OpenOrder): Promise<Opened> {
    const { link, end, blocking } = this.#options;
    const { source, destination, chunkBytes, ksid, gone } = order;
    if (!Number.isInteger(chunkBytes) || chunkBytes < 1 || chunkBytes > MAX_CHUNK_BYTES) {
      return { status: ETSI004_STATUS.QOS_NOT_MET };
    }
    const result = link.open(end, source, destination, chunkBytes, ksid);
    if (result.status !== ETSI004_STATUS.SUCCESS) return { status: result.status };
    const waitMs = order.timeoutMs || DEFAULT_OPEN_TIMEOUT_MS;
    if (blocking && !(await inTime(result.joined, gone, waitMs))) {
      link.close(end, result.ksid);
      return { status: ETSI004_STATUS.TIMEOUT };
    }
    return { status: ETSI004_STATUS.SUCCESS, ksid: result.ksid, chunkBytes: result.chunkBytes };
  }

  /** @param index which key; undefined for the next one. */
  getKey(ksid: string, index?: number): { status: number; key?: Buffer } {
    const { link, end, faults } = this.#options;
    if (faults.strikes('dry')) return { status: ETSI004_STATUS.INSUFFICIENT_KEY };
    const key = link.take(end, ksid, index);
    if (key === null) return { status: ETSI004_STATUS.PEER_APPLICATION_NOT_CONNECTED };
    if (key === undefined) return { status: ETSI004_STATUS.INSUFFICIENT_KEY };
    return { status: ETSI004_STATUS.SUCCESS, key: this.handOut(key) };
  }

  close(ksid: string): number {
    const closed = this.#options.link.close(this.#options.end, ksid);
    return closed ? ETSI004_STATUS.SUCCESS : ETSI004_STATUS.PEER_APPLICATION_NOT_CONNECTED;
  }

  /** A key on its way out: counted, and what a fault makes of it. */
  handOut(sound: Buffer): Buffer {
    const { faults } = this.#options;
    let key = sound;
    const last = this.#last.get(key.length);
    if (last && faults.strikes('repeat')) key = Buffer.from(last);
    if (faults.strikes('wrong-key')) key[0] = (key[0] as number) ^ 0xff;
    if (faults.strikes('zero')) key.fill(0);
    if (this.#last.size >= MAX_SIZES) this.#last.clear();
    this.#last.set(key.length, Buffer.from(key));
    this.#delivered += 1;
    this.#deliveredBytes += key.length;
    return key;
  }
}

/** Whether `joined` comes before the time is up and before the caller has gone. */
async function inTime(joined: Promise<void>, gone: AbortSignal, ms: number): Promise<boolean> {
  const given = Promise.withResolvers<boolean>();
  const giveUp = () => given.resolve(false);
  const timer = setTimeout(giveUp, ms);
  if (gone.aborted) giveUp();
  gone.addEventListener('abort', giveUp, { once: true });
  try {
    return await Promise.race([joined.then(() => true), given.promise]);
  } finally {
    clearTimeout(timer);
    gone.removeEventListener('abort', giveUp);
  }
}
