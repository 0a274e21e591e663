import { QKD_SECRET_BYTES } from '#common/catalogue/qkd-keys.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import type { Random } from '#common/crypto/random.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Timer } from '#common/time/clock.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { PeerLinks } from '../clients/peer-link.ts';
import type { QkdTools } from '../clients/qkd-sequence.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { InitiatorReservoir } from './initiator/initiator-reservoir.ts';
import { ReservoirAccount, type ReservoirBalance } from './reservoir-account.ts';
import type { ReservoirTools } from './reservoir-tools.ts';
import { ResponderReservoir } from './responder-reservoir.ts';

/** How long the reservoir of a link stays when its last stream has ended: the next one finds it ready. */
const LINGER_MS = 60_000;

/** Reservoirs of links that one peer may have here: that of its gateway, and what its last life has left. */
const MAX_LINKS = 2;

/** What is looked at for its age, in parts of the age. */
const LOOKS = 4;

export interface ReservoirsOptions extends QkdTools {
  readonly links: PeerLinks;
  readonly random: Random;
  readonly settings: Pick<
    NodeConfig['qkd'],
    'join' | 'block_keys' | 'sharing' | 'reservoir' | 'key_rate_bps'
  >;
}

/** What has become of the QKD keys of one direction of a link. */
export interface LinkBalance extends ReservoirBalance {
  readonly peer: string;
  readonly role: 'initiator' | 'responder';
  readonly held: number;
  /** For how long the oldest of those that are held has lain here, milliseconds; 0 where none is. */
  readonly oldestAgeMs: number;
}

/** A reservoir, and whoever needs it. */
interface Used<R> {
  readonly reservoir: R;
  users: number;
  linger: Timer | undefined;
}

/** What of a stream decides on its reservoir. */
type StreamOf = Pick<KeyStream, 'idBytes' | 'incarnation' | 'terms' | 'route'>;

/**
 * The reservoirs of a gateway: at its initiator end one for each other node
 * (`qkd.sharing` link) or for each stream (stream); at its responder end those
 * that the initiators name, whichever they are.
 */
export class Reservoirs {
  readonly #tools: ReservoirTools;
  readonly #links: PeerLinks;
  readonly #random: Random;
  readonly #sharing: 'link' | 'stream';
  readonly #maxAgeMs: number;
  readonly #configuredBps: number;
  /** Of links, by the other node. */
  readonly #initiators = new Map<string, Used<InitiatorReservoir>>();
  /** Of streams, with the other node of each. */
  readonly #own = new Map<InitiatorReservoir, string>();
  /** By the initiator's node and the reservoir's id, the newest at the end; those of streams go with their streams. */
  readonly #responders = new Map<string, Map<string, ResponderReservoir>>();
  /** Streams that this node answers, by the initiator's node. */
  readonly #answered = new Map<string, { users: number; linger: Timer | undefined }>();
  readonly #accounts = new Map<string, ReservoirAccount>();
  #look: Timer | undefined;

  constructor({ links, random, settings, qkd, clock, log }: ReservoirsOptions) {
    const { join, block_keys: maxBlockKeys, sharing, reservoir } = settings;
    this.#tools = { qkd, clock, log, join, maxBlockKeys, maxKeys: reservoir.max_keys };
    this.#links = links;
    this.#random = random;
    this.#sharing = sharing;
    this.#maxAgeMs = reservoir.max_age;
    this.#configuredBps = settings.key_rate_bps;
  }

  /** Whether all streams to a node take their keys from one reservoir. */
  get areShared(): boolean {
    return this.#sharing === 'link';
  }

  /** What has become of the keys of each link, since the start of the gateway. */
  get balances(): LinkBalance[] {
    return [...this.#accounts].map(([name, account]) => {
      const [role, peer] = name.split(' ') as ['initiator' | 'responder', string];
      const all = this.#with(role, peer);
      const now = this.#tools.clock.monotonicMs();
      return {
        ...{ peer, role, ...account.balance },
        held: all.reduce((sum, one) => sum + one.held, 0),
        oldestAgeMs: Math.max(0, ...all.map(({ oldestMs = now }) => now - oldestMs)),
      };
    });
  }

  /**
   * QKD bit/s that the key manager gives for streams to `farNode` beyond what
   * is promised to those that are open; 0 where its rate is not known, since
   * it has given enough so far and the configuration names none.
   */
  leftBps(farNode: string): number {
    const link = this.#initiators.get(farNode)?.reservoir;
    const bitsOf = (keys: number) => keys * QKD_SECRET_BYTES * 8;
    const rate = link?.supply === undefined ? this.#configuredBps : bitsOf(link.supply);
    return rate === 0 ? 0 : Math.max(1, Math.floor(rate - bitsOf(link?.promised ?? 0)));
  }

  /** The reservoir of a stream that this node leads; `leave` must follow. */
  initiator(stream: StreamOf): InitiatorReservoir {
    const { farNode } = stream.route;
    this.#lookSoon();
    if (this.#sharing === 'stream') {
      // So that key managers that pair by URIs do not pair what an earlier stream of this KSID has left.
      const reservoir = this.#newInitiator(stream, stream.idBytes, stream.incarnation.readUIntBE(0, 3));
      this.#own.set(reservoir, farNode);
      return reservoir;
    }
    let used = this.#initiators.get(farNode);
    if (!used) {
      used = {
        reservoir: this.#newInitiator(stream, this.#random.bytes(16), 0),
        users: 0,
        linger: undefined,
      };
      this.#initiators.set(farNode, used);
    }
    used.linger?.cancel();
    used.users += 1;
    return used.reservoir;
  }

  /** A stream that this node led is over. */
  leaveInitiator(stream: StreamOf, reservoir: InitiatorReservoir): void {
    if (this.#own.delete(reservoir)) {
      reservoir.end('its stream has ended');
      this.#lookSoon();
      return;
    }
    const { farNode } = stream.route;
    const used = this.#initiators.get(farNode);
    if (used?.reservoir !== reservoir) return;
    used.users -= 1;
    if (used.users > 0) return;
    used.linger = this.#tools.clock.after(
      LINGER_MS,
      () => {
        this.#initiators.delete(farNode);
        reservoir.end('the link is idle');
        this.#logBalance(farNode, 'initiator');
        this.#lookSoon();
      },
      true,
    );
  }

  /** A stream that takes QKD keys is answered from now on; `leaveResponder` must follow. */
  joinResponder({ route }: StreamOf): void {
    const answered = this.#answered.get(route.farNode) ?? { users: 0, linger: undefined };
    this.#answered.set(route.farNode, answered);
    answered.linger?.cancel();
    answered.users += 1;
  }

  /** It is over. */
  leaveResponder({ route, idBytes }: StreamOf): void {
    const { farNode } = route;
    const id = idBytes.toString('hex');
    const named = this.#responders.get(farNode);
    named?.get(id)?.end('its stream has ended');
    named?.delete(id);
    const answered = this.#answered.get(farNode);
    if (!answered) return;
    answered.users -= 1;
    if (answered.users > 0) return;
    answered.linger = this.#tools.clock.after(
      // Longer than the initiator's end, which begins anew with an epoch of its own.
      2 * LINGER_MS,
      () => {
        this.#answered.delete(farNode);
        this.#endResponders(farNode, 'the link is idle');
        this.#logBalance(farNode, 'responder');
      },
      true,
    );
  }

  /**
   * The reservoir that `peer` names for a stream of its own, or for its link.
   *
   * @param between both nodes, the peer as the initiator.
   * @param stream the stream whose KSID the name is, where it is that of one.
   * @throws KeyweaveError BAD_REQUEST for a name that is none; UNKNOWN_STREAM where the peer has no stream here.
   */
  responder(reference: QkdReference, between: { initiator: string; responder: string }): ResponderReservoir {
    const { reservoir: id } = reference;
    const { initiator: peer, responder } = between;
    if (id.length !== 16) {
      throw new KeyweaveError('BAD_REQUEST', `qkd.reservoir must be 16 bytes long, not ${id.length}`);
    }
    if (!this.#answered.has(peer)) {
      throw new KeyweaveError('UNKNOWN_STREAM', 'this node answers no stream of yours that takes QKD keys');
    }
    const name = Buffer.from(id).toString('hex');
    const named = this.#responders.get(peer) ?? new Map<string, ResponderReservoir>();
    this.#responders.set(peer, named);
    let found = named.get(name);
    if (!found) {
      found = new ResponderReservoir({
        ...{ tools: this.#tools, id, account: this.#account('responder', peer) },
        ...{ initiatorNode: peer, responderNode: responder },
      });
      named.set(name, found);
      this.#forgetOldest(peer, named);
      this.#lookSoon();
    }
    return found;
  }

  /** Ends all. */
  stop(): void {
    for (const reservoir of this.#own.keys()) reservoir.end('the gateway stops');
    for (const { reservoir, linger } of this.#initiators.values()) {
      linger?.cancel();
      reservoir.end('the gateway stops');
    }
    for (const { linger } of this.#answered.values()) linger?.cancel();
    for (const peer of [...this.#responders.keys()]) this.#endResponders(peer, 'the gateway stops');
    this.#own.clear();
    this.#initiators.clear();
    this.#answered.clear();
    this.#look?.cancel();
  }

  #newInitiator({ route, terms }: StreamOf, id: Buffer, firstEpoch: number): InitiatorReservoir {
    return new InitiatorReservoir({
      ...{ tools: this.#tools, link: this.#links.to(route.farNode), id, firstEpoch },
      account: this.#account('initiator', route.farNode),
      ...{ initiatorNode: terms.sourceNode, responderNode: terms.destinationNode },
    });
  }

  #account(role: 'initiator' | 'responder', peer: string): ReservoirAccount {
    const name = `${role} ${peer}`;
    const account = this.#accounts.get(name) ?? new ReservoirAccount();
    this.#accounts.set(name, account);
    return account;
  }

  #with(role: 'initiator' | 'responder', peer: string): (InitiatorReservoir | ResponderReservoir)[] {
    if (role === 'responder') return [...(this.#responders.get(peer)?.values() ?? [])];
    const own = [...this.#own].flatMap(([reservoir, node]) => (node === peer ? [reservoir] : []));
    const shared = this.#initiators.get(peer)?.reservoir;
    return shared ? [shared, ...own] : own;
  }

  /** What became of the keys of a link that nobody needs any more. */
  #logBalance(peer: string, role: 'initiator' | 'responder'): void {
    const account = this.#accounts.get(`${role} ${peer}`);
    if (!account) return;
    const { taken, woven, burned } = account.balance;
    this.#tools.log.info('QKD keys of a link', { peer, role, taken, woven, ...Object.fromEntries(burned) });
  }

  /** A gateway that has been started anew names another reservoir; those of more streams than it has here are its own trouble. */
  #forgetOldest(peer: string, named: Map<string, ResponderReservoir>): void {
    const most = Math.max(MAX_LINKS, (this.#answered.get(peer)?.users ?? 0) + 1);
    for (const [name, reservoir] of named) {
      if (named.size <= most) return;
      named.delete(name);
      reservoir.end('the initiator has begun another');
    }
  }

  /** Beside the one that was named last, those that nobody has named since `ms`: an earlier life of the initiator's gateway has left them. */
  #endUnused(named: Map<string, ResponderReservoir>, ms: number): void {
    const newest = Math.max(...[...named.values()].map(({ usedMs }) => usedMs));
    for (const [name, reservoir] of named) {
      if (reservoir.usedMs >= ms || reservoir.usedMs === newest) continue;
      named.delete(name);
      reservoir.end('nobody has named it for long');
    }
  }

  #endResponders(peer: string, why: string): void {
    for (const reservoir of this.#responders.get(peer)?.values() ?? []) reservoir.end(why);
    this.#responders.delete(peer);
  }

  /** Has what is too old wiped while there is anything that may grow old. */
  #lookSoon(): void {
    const isEmpty = this.#own.size + this.#initiators.size + this.#responders.size === 0;
    if (isEmpty) {
      this.#look?.cancel();
      this.#look = undefined;
    } else {
      this.#look ??= this.#tools.clock.after(this.#maxAgeMs / LOOKS, () => this.#lookNow(), true);
    }
  }

  #lookNow(): void {
    this.#look = undefined;
    const before = this.#tools.clock.monotonicMs() - this.#maxAgeMs;
    for (const reservoir of this.#own.keys()) reservoir.burnOlder(before);
    for (const { reservoir } of this.#initiators.values()) reservoir.burnOlder(before);
    // The initiator's end decides first, and says so.
    for (const named of this.#responders.values()) {
      for (const reservoir of named.values()) reservoir.burnOlder(before - this.#maxAgeMs);
      this.#endUnused(named, before - this.#maxAgeMs);
    }
    this.#lookSoon();
  }
}
