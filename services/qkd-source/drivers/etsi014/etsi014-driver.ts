import { setTimeout as delay } from 'node:timers/promises';
import type { Address } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type Etsi014Status, keyContainerSchema, statusSchema } from '#common/etsi/etsi014.ts';
import type { Log } from '#common/log/log.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { systemClock } from '#common/time/clock.ts';
import type { NamedKeys, QkdDriver, QkdStreamName } from '../qkd-driver.ts';
import { idsIn, nameOf } from './key-names.ts';
import { joinParts, partsFor } from './key-parts.ts';
import { KmeHttp, type KmeReply, refusalOf } from './kme-http.ts';

/** How long a status is believed. */
const STATUS_MS = 60_000;

const STATUS_BYTES = 65_536;
/** Of an answer with keys, beside the base64 of each: its key_ID, names and extensions. */
const FRAME_BYTES = 16_384;
const KEY_FRAME_BYTES = 1_024;

/** Most keys of one request, whatever the key manager says. */
const MAX_NUMBER = 1_000;

/** Pauses before a key that the key manager does not know yet is asked for again: that takes nothing. */
const FIND_PAUSES_MS = [50, 150, 300];

const BAD_REQUEST = 400;
const NOT_FOUND = 404;
/** What key managers say that have no key: 503 by the standard, 404 in practice. */
const DRY: readonly number[] = [503, NOT_FOUND];

export interface Etsi014Options {
  /** UUID of the own node. */
  readonly nodeUuid: string;
  readonly log?: Log;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

/** The two SAEs of a handle. */
interface Saes {
  readonly master: string;
  readonly slave: string;
}

/**
 * ETSI GS QKD 014 V1.1.1: the initiator's node is the master SAE and gets new
 * keys by enc_keys, the responder's the slave SAE, which gets those that it is
 * told by dec_keys. There are no streams: a handle is the pair of SAEs.
 *
 * @throws KeyweaveError BAD_CONFIG when the TLS files are not usable.
 */
export function createEtsi014Driver(
  address: Address,
  settings: NodeConfig['qkd'],
  { nodeUuid, log = silentLog, now = systemClock.monotonicMs }: Etsi014Options,
): QkdDriver {
  const http = new KmeHttp(address, settings);
  const own = saeOf(settings, nodeUuid);
  const known = new Map<string, { status: Etsi014Status; atMs: number }>();
  const limitOf = (signal: AbortSignal) => AbortSignal.any([signal, AbortSignal.timeout(settings.timeout)]);

  /** The key manager's status for keys with `sae`; asked twice where a connection that was idle has died. */
  async function askStatus(sae: string, signal: AbortSignal): Promise<Etsi014Status> {
    const request = { method: 'GET', sae, call: 'status', maxBytes: STATUS_BYTES } as const;
    const reply = await http.ask(request, signal).catch((error: unknown) => {
      if (signal.aborted) throw unavailable(error);
      return http.ask(request, signal).catch((again: unknown) => {
        throw unavailable(again);
      });
    });
    const parsed = statusSchema.safeParse(reply.json);
    if (reply.code !== 200) throw refusalOf('status', reply);
    if (!parsed.success)
      throw new KeyweaveError('QKD_UNAVAILABLE', 'the key manager gives no readable status');
    const status = parsed.data;
    if (!known.has(sae)) {
      log.info('the key manager has a pool of keys', {
        ...{ sae, stored: status.stored_key_count, bits: status.key_size },
        ...{ leastBits: status.min_key_size, mostBits: status.max_key_size },
        together: status.max_key_per_request,
      });
    }
    known.set(sae, { status, atMs: now() });
    return status;
  }

  async function statusOf(sae: string, signal: AbortSignal): Promise<Etsi014Status> {
    const last = known.get(sae);
    return last && now() - last.atMs < STATUS_MS ? last.status : askStatus(sae, signal);
  }

  /** One enc_keys; undefined where the key manager is dry. */
  async function encKeys(sae: string, number: number, bytes: number, signal: AbortSignal) {
    const maxBytes = FRAME_BYTES + number * (KEY_FRAME_BYTES + 2 * bytes);
    const body = { number, size: bytes * 8 };
    const reply = await http.ask({ method: 'POST', sae, call: 'enc_keys', body, maxBytes }, signal);
    if (reply.code === 200) return containerOf(reply);
    if (DRY.includes(reply.code)) return undefined;
    throw refusalOf('enc_keys', reply);
  }

  /** Those that have fewer keys than asked for may refuse all: then one is asked for, since none was given. */
  async function encKeysOrOne(
    sae: string,
    number: number,
    least: number,
    bytes: number,
    signal: AbortSignal,
  ) {
    const refused = (error: unknown) => {
      if (number > least && error instanceof KeyweaveError && error.reason === 'QKD_UNAVAILABLE')
        return undefined;
      throw error;
    };
    const keys = await encKeys(sae, number, bytes, signal).catch(refused);
    return keys ?? (number > least ? encKeys(sae, least, bytes, signal) : undefined);
  }

  const named: NamedKeys = {
    async take(handle, count, keyBytes, signal) {
      const limit = limitOf(signal);
      const { slave } = saesIn(handle, (saes) => saes.master === own);
      const status = await statusOf(slave, limit);
      const parts = partsFor(keyBytes, status);
      const most = Math.min(MAX_NUMBER, Math.max(parts.count, status.max_key_per_request));
      const taken: { key_ID: string; key: string }[] = [];
      for (let left = count * parts.count; left > 0; ) {
        const number = Math.min(left, most);
        const keys = await encKeysOrOne(
          slave,
          number,
          Math.min(parts.count, number),
          parts.bytes,
          limit,
        ).catch((error: unknown) => {
          // What has come is as good as if it had been asked for alone.
          if (taken.length < parts.count) throw error;
          return undefined;
        });
        if (keys === undefined || keys.length === 0) break;
        taken.push(...keys.slice(0, left));
        left -= keys.length;
        if (keys.length < number) break;
      }
      const whole = Math.floor(taken.length / parts.count);
      const used = taken.slice(0, whole * parts.count);
      const keys = joinParts(
        used.map(({ key }) => key),
        new Array<number>(whole).fill(parts.count),
        keyBytes,
      );
      const names = Array.from({ length: whole }, (_, i) =>
        nameOf(used.slice(i * parts.count, (i + 1) * parts.count).map(({ key_ID }) => key_ID)),
      );
      return { keys, names };
    },

    async find(handle, names, keyBytes, signal) {
      const limit = limitOf(signal);
      const { master } = saesIn(handle, (saes) => saes.slave === own);
      const lists = names.map(idsIn);
      const ids = lists.flat();
      const { max_key_per_request: most } = await statusOf(master, limit);
      const found = new Map<string, string>();
      const step = Math.min(MAX_NUMBER, Math.max(1, most));
      for (let first = 0; first < ids.length; first += step) {
        const wanted = ids.slice(first, first + step);
        const maxBytes = FRAME_BYTES + wanted.length * (KEY_FRAME_BYTES + 2 * keyBytes + STATUS_BYTES);
        for (const { key_ID, key } of await decKeys(master, wanted, maxBytes, limit)) {
          found.set(key_ID.toLowerCase(), key);
        }
      }
      const parts = ids.map((id) => found.get(id.toLowerCase()) ?? '');
      return joinParts(
        parts,
        lists.map(({ length }) => length),
        keyBytes,
      );
    },
  };

  /** One dec_keys, repeated where the key manager does not know the keys yet. */
  async function decKeys(sae: string, ids: readonly string[], maxBytes: number, signal: AbortSignal) {
    const body = { key_IDs: ids.map((key_ID) => ({ key_ID })) };
    for (let i = 0; ; i++) {
      const reply = await http.ask({ method: 'POST', sae, call: 'dec_keys', body, maxBytes }, signal);
      if (reply.code === 200) return containerOf(reply);
      const pauseMs = FIND_PAUSES_MS[i];
      const mayCome = reply.code === BAD_REQUEST || reply.code === NOT_FOUND;
      if (pauseMs === undefined || !mayCome || signal.aborted) throw refusalOf('dec_keys', reply);
      await delay(pauseMs, undefined, { ref: false });
    }
  }

  /** @throws KeyweaveError QKD_UNAVAILABLE for what is no handle, or one of another end. */
  function saesIn(handle: string, isOurs: (saes: Saes) => boolean): Saes {
    const [master, slave, ...rest] = handle.split(' ').map(decoded);
    if (master !== undefined && slave !== undefined && rest.length === 0 && isOurs({ master, slave })) {
      return { master, slave };
    }
    throw new KeyweaveError('QKD_UNAVAILABLE', `no QKD keys of ${handle} are for this end to read so`);
  }

  return {
    named,

    async open(stream, keyBytes, _join, signal) {
      const saes = saesOf(settings, stream);
      const other = saes.master === own ? saes.slave : saes.master;
      if (saes.master !== own && saes.slave !== own) {
        throw new KeyweaveError('QKD_UNAVAILABLE', 'this node is at neither end of the QKD stream');
      }
      partsFor(keyBytes, await askStatus(other, limitOf(signal)));
      return [saes.master, saes.slave].map(encodeURIComponent).join(' ');
    },

    fetch: () => Promise.reject(new KeyweaveError('QKD_UNAVAILABLE', 'the key manager numbers no keys')),

    // Nothing is open there.
    close: async () => undefined,

    // A request has as many keys as the key manager gives at once.
    blockBytes: 0,

    learn: async (between) => {
      if (!between) return;
      const { master, slave } = saesOf(settings, between);
      const other = master === own ? slave : master;
      await statusOf(other, AbortSignal.timeout(settings.timeout)).catch(() => undefined);
    },

    stop: () => http.stop(),
  };
}

/** A node's SAE id: as configured, else its UUID. */
function saeOf(settings: NodeConfig['qkd'], node: string): string {
  return settings.sae_ids[node] ?? node;
}

function saesOf(
  settings: NodeConfig['qkd'],
  { sourceNode, destinationNode }: Pick<QkdStreamName, 'sourceNode' | 'destinationNode'>,
): Saes {
  return { master: saeOf(settings, sourceNode), slave: saeOf(settings, destinationNode) };
}

function containerOf({ json }: KmeReply): { key_ID: string; key: string }[] {
  const parsed = keyContainerSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  // Keys may have gone, and nobody knows which.
  throw new KeyweaveError('QKD_OUT_OF_STEP', 'the key manager gives no readable key container');
}

/** Of a request that takes nothing: whatever became of it, no key is lost. */
function unavailable(error: unknown): KeyweaveError {
  const { detail } = KeyweaveError.from(error);
  return new KeyweaveError('QKD_UNAVAILABLE', detail, { cause: error });
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
