import { findKemAlgorithm } from '#common/catalogue/kems.ts';
import { findMethod } from '#common/catalogue/methods.ts';
import { ownCopy } from '#common/crypto/bytes.ts';
import { Secret } from '#common/crypto/secret.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { listenerLayer, type PolicyLayer } from '#common/policy/policy-layers.ts';
import type { Clock } from '#common/time/clock.ts';
import type { OfferedStream, OfferTaker } from '../../delivery/listener-streams.ts';
import type { Owner } from '../../streams/owner.ts';
import { KeyIds, tagOf } from './key-ids.ts';
import type { KeyKind } from './key-kinds.ts';
import type { Delivery } from './master-stream.ts';
import type { Parties, Party } from './parties.ts';
import type { NamedKeysSettings } from './settings.ts';
import { type Group, groupOf, isOf } from './stream-names.ts';
import { KeptKeys, type TakenKey } from './taken-keys.ts';

/** How much longer than twice the key_ttl this end keeps a key: the master's end may give one out late by so much. */
const MARGIN_MS = 60_000;

/** Keys of one stream that were taken and not given to all who may have them, at most. */
const MAX_HELD = 1_024;

/** For a key that is wanted only if it is here. */
const NOBODY_WAITS = AbortSignal.abort();

export interface SlaveStreamsOptions {
  readonly delivery: Delivery;
  readonly kind: KeyKind;
  readonly parties: Parties;
  readonly settings: Pick<
    NamedKeysSettings,
    | 'default_method'
    | 'default_key_sources'
    | 'policy'
    | 'min_key_size'
    | 'max_key_size'
    | 'key_ttl'
    | 'max_sae_id_count'
  >;
  readonly clock: Clock;
}

/** A key that is here, and who has not had it yet. */
interface HeldKey {
  readonly key: Secret;
  readonly left: Set<Party>;
}

interface SlaveStream {
  readonly ksid: string;
  readonly ids: KeyIds;
  readonly group: Group;
  readonly held: KeptKeys<number, HeldKey>;
}

/** What came of a call for keys. */
export type Found =
  | { readonly keys: TakenKey[] }
  /** Key_IDs of which there are no keys, or no more. */
  | { readonly missing: string[] }
  /** Key_IDs of keys that are for others. */
  | { readonly barred: string[] };

/**
 * The streams of which this node's parties are the slaves: opened by the masters'
 * nodes, taken at once. Each slave of a stream gets each of its keys once.
 */
export class SlaveStreams implements OfferTaker {
  readonly #o: SlaveStreamsOptions;
  /** By the first digits of their key_IDs. */
  readonly #streams = new Map<string, SlaveStream>();

  constructor(options: SlaveStreamsOptions) {
    this.#o = options;
  }

  get policy(): PolicyLayer | undefined {
    return listenerLayer(this.#o.kind.name, this.#o.settings.policy);
  }

  judge(offer: OfferedStream): Owner | undefined {
    const { kind, parties, settings } = this.#o;
    if (!isOf(kind, offer.destination)) return undefined;
    const group = groupOf(kind, offer, parties);
    if (!group) {
      const detail = `the ${kind.party}s are not at their nodes by the other node's ${kind.setting}`;
      throw new KeyweaveError('NO_ROUTE', detail);
    }
    if (group.slaves.length > settings.max_sae_id_count + 1) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        `${group.slaves.length} slaves are more than the other node's listener takes`,
      );
    }
    assertSame('method', offer.method, findMethod(settings.default_method)?.name);
    const own = settings.default_key_sources.map(
      (name) => findKemAlgorithm(name)?.name ?? name.toUpperCase(),
    );
    assertSame('sources', withoutStandIn(offer.sources), withoutStandIn(own));
    const bits = offer.keyBytes * 8;
    if (bits < settings.min_key_size || bits > settings.max_key_size) {
      const range = `${settings.min_key_size} to ${settings.max_key_size} bits`;
      throw new KeyweaveError(
        'QOS_NOT_MET',
        `the other node's listener has keys of ${range}, not of ${bits}`,
      );
    }
    if (this.#streams.has(new KeyIds(offer.ksid, kind).tag)) {
      throw new KeyweaveError(
        'KSID_IN_USE',
        'key_IDs of this stream would begin as those of another; open another',
      );
    }
    return kind.owner;
  }

  opened(offer: OfferedStream): void {
    const ids = new KeyIds(offer.ksid, this.#o.kind);
    const group = groupOf(this.#o.kind, offer, this.#o.parties) as Group;
    this.#streams.set(ids.tag, { ksid: offer.ksid, ids, group, held: new KeptKeys(MAX_HELD) });
  }

  /**
   * The keys of these key_IDs, in lower case, each once, that `master` has got:
   * all of them or none.
   */
  take(slave: Party, master: Party, ids: readonly string[], address: string): Found {
    const found = ids.map((id) => this.#find(master, id));
    const barred = ids.filter((_id, i) => found[i]?.stream.group.slaves.includes(slave) === false);
    if (barred.length > 0) return { barred };
    // Those whose streams are not known cost the others nothing.
    if (found.includes(undefined)) return { missing: ids.filter((_id, i) => !found[i]) };

    const keys = found.map((each) => this.#takeOne(each as Place, slave, address));
    const missing = ids.filter((_id, i) => keys[i] === undefined);
    if (missing.length === 0) {
      return { keys: keys.map((key, i) => ({ id: ids[i] as string, key: key as Secret })) };
    }
    for (const [i, key] of keys.entries()) if (key) this.#putBack(found[i] as Place, slave, key);
    return { missing };
  }

  /** Wipes what has lain too long, and ends the streams that have no keys any more and get none. */
  sweep(): void {
    const { delivery, settings, clock } = this.#o;
    for (const [tag, { ksid, held }] of this.#streams) {
      held.wipeEnded(clock.monotonicMs());
      const ready = this.#readyOf(ksid);
      if (ready === undefined && held.size === 0) this.#streams.delete(tag);
      if (ready === undefined) continue;
      const request = { ksid, owner: this.#o.kind.owner };
      delivery.wipeOlder(request, 2 * settings.key_ttl + MARGIN_MS);
      const status = delivery.status(request);
      if (status.peerApplication !== 'joined' && status.readyKeys === 0) delivery.close(request);
    }
  }

  stop(): void {
    for (const { held } of this.#streams.values()) held.wipeAll();
    this.#streams.clear();
  }

  /** Undefined where the stream has ended. */
  #readyOf(ksid: string): number | undefined {
    try {
      return this.#o.delivery.status({ ksid, owner: this.#o.kind.owner }).readyKeys;
    } catch {
      return undefined;
    }
  }

  #find(master: Party, id: string): Place | undefined {
    const stream = this.#streams.get(tagOf(id));
    if (stream?.group.master !== master) return undefined;
    const index = stream.ids.indexOf(id);
    return index === undefined ? undefined : { stream, index };
  }

  #takeOne({ stream, index }: Place, slave: Party, address: string): Secret | undefined {
    const { held, group } = stream;
    const known = held.get(index);
    if (known) return takeHeld(held, index, known, slave);
    const key = this.#fromStream(stream, index, address);
    if (!key || group.slaves.length === 1) return key;
    const left = new Set(group.slaves);
    left.delete(slave);
    this.#hold(held, index, { key: copyOf(key), left });
    return key;
  }

  /** The whole group's, however many may have it: the log of what is delivered names them all. */
  #fromStream({ ksid, group }: SlaveStream, index: number, address: string): Secret | undefined {
    const onBehalfOf = group.slaves.map(({ id }) => id).join(', ');
    try {
      const delivered = this.#o.delivery.getKey({
        ...{ ksid, index, signal: NOBODY_WAITS },
        owner: { identity: this.#o.kind.owner.identity, address, onBehalfOf },
      });
      if (!(delivered instanceof Promise)) return delivered.key;
      // It waits for nothing: the signal has fired.
      delivered.catch(() => undefined);
      return undefined;
    } catch (thrown) {
      if (KeyweaveError.from(thrown).reason === 'INTERNAL') throw thrown;
      return undefined;
    }
  }

  /** A key that was taken for a call that fails. */
  #putBack({ stream: { held }, index }: Place, slave: Party, key: Secret): void {
    const known = held.get(index);
    if (known) {
      known.left.add(slave);
      key.wipe();
    } else this.#hold(held, index, { key, left: new Set([slave]) });
  }

  #hold(held: SlaveStream['held'], index: number, key: HeldKey): void {
    const { clock, settings } = this.#o;
    held.keep(index, key, clock.monotonicMs() + 2 * settings.key_ttl);
  }
}

/** A key of a stream. */
interface Place {
  readonly stream: SlaveStream;
  readonly index: number;
}

/** A copy, or the key itself for the last one who may have it. */
function takeHeld(
  held: SlaveStream['held'],
  index: number,
  { key, left }: HeldKey,
  slave: Party,
): Secret | undefined {
  if (!left.delete(slave)) return undefined;
  if (left.size > 0) return copyOf(key);
  held.take(index);
  return key;
}

function copyOf(key: Secret): Secret {
  return new Secret(ownCopy(key.expose()));
}

/** Neither end gives out keys that are made otherwise than its own settings say. */
function assertSame(what: string, offered: string, own: string | undefined): void {
  if (offered === own) return;
  throw new KeyweaveError(
    'REVISION_MISMATCH',
    `the listeners of the two nodes differ in ${what}: ${offered} here, ${own} at the other node`,
  );
}

/** Whether a shared_seed is the second source is for the nodes' policies to say. */
function withoutStandIn(sources: readonly string[]): string {
  return sources.filter((name) => name !== 'SHARED-SEED').join(',');
}
