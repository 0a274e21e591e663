import { asBuffer, wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ServiceClient } from '#common/grpc/client.ts';
import type { Clock } from '#common/time/clock.ts';
import type { SourceSlot } from '#gen/keyweave/v1/common.ts';
import type { PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import { KemSession, type SessionKeyPairs } from './kem-session.ts';
import { STEP_TIMEOUT_MS } from './step-limits.ts';

/** Public halves of one-time key pairs, end to end; the private halves live in pqc-source. */
export interface KeyPairs {
  readonly publicKeys: Buffer;
}

/** Ciphertexts and shared secrets, each end to end; the caller wipes the secrets. */
export interface Encapsulated {
  readonly ciphertexts: Buffer;
  readonly sharedSecrets: Buffer;
}

/**
 * KEM operations of the own node's pqc-source, n at a time. What comes back has
 * the sizes of the slot, or the call fails with INTERNAL. Every call has a
 * limit of time; errors are KeyweaveErrors.
 */
export interface KemClient {
  /** Makes `count` one-time key pairs; `decapsulate` or `discard` uses them up. */
  generate(slot: SourceSlot, count: number): Promise<KeyPairs>;
  /** Shared secrets, end to end, for the first keys of the pairs. The caller wipes them. */
  decapsulate(slot: SourceSlot, pairs: KeyPairs, ciphertexts: Uint8Array): Promise<Buffer>;
  /** Has the private halves wiped; does nothing for pairs that have been used up. */
  discard(pairs: KeyPairs): void;
  /** @param peerNode UUID of the node whose public keys they are; peers take turns. */
  encapsulate(slot: SourceSlot, publicKeys: Uint8Array, peerNode: string): Promise<Encapsulated>;
  /** Every KEM that pqc-source knows, by name, with why it cannot be done there; empty where it can. */
  unavailable(): Promise<ReadonlyMap<string, string>>;
}

/** Sessions that are open at a time: as many replicas of pqc-source can work for one gateway. */
const SESSIONS = 4;

/** After this a session gets no new batches, so that replicas that joined meanwhile get theirs. */
const MAX_AGE_MS = 60_000;

interface OpenSession {
  readonly session: Pick<KemSession, 'generate' | 'decapsulate' | 'discard' | 'close'>;
  readonly openedMs: number;
  /** Batches whose private keys it holds or is making. */
  held: number;
  retired: boolean;
}

interface Owned {
  readonly from: OpenSession;
  readonly pairs: SessionKeyPairs;
}

/**
 * Spreads key pairs over the replicas of pqc-source: several sessions, each
 * pinned to the replica that the channel chose for it, since private keys
 * never leave the process that made them. What one replica takes along when it
 * dies are the batches of its sessions.
 */
export class PqcSourceClient implements KemClient {
  readonly #client: ServiceClient<PqcSourceDefinition>;
  readonly #clock: Clock;
  readonly #open: () => OpenSession['session'];
  readonly #sessions: OpenSession[] = [];
  readonly #retired = new Set<OpenSession>();
  readonly #owned = new Map<KeyPairs, Owned>();
  #turn = 0;

  /** @param open makes a session; for tests. */
  constructor(
    client: ServiceClient<PqcSourceDefinition>,
    clock: Clock,
    open: () => OpenSession['session'] = () => new KemSession(client, clock),
  ) {
    this.#client = client;
    this.#clock = clock;
    this.#open = open;
  }

  async generate(slot: SourceSlot, count: number): Promise<KeyPairs> {
    const from = this.#next();
    from.held += 1;
    try {
      const pairs = await from.session.generate(slot.algorithm, count);
      if (pairs.publicKeys.length !== count * slot.publicKeyBytes) {
        from.session.discard(pairs);
        throw wrongSize();
      }
      this.#owned.set(pairs, { from, pairs });
      return pairs;
    } catch (error) {
      this.#release(from);
      throw error;
    }
  }

  async decapsulate(slot: SourceSlot, pairs: KeyPairs, ciphertexts: Uint8Array): Promise<Buffer> {
    const owned = this.#owned.get(pairs);
    if (!owned) throw new TypeError('key pairs are used once, by the client that made them');
    this.#owned.delete(pairs);
    try {
      const secrets = await owned.from.session.decapsulate(owned.pairs, ciphertexts);
      if (secrets.length * slot.ciphertextBytes === ciphertexts.length * slot.sharedSecretBytes)
        return secrets;
      wipe(secrets);
      throw wrongSize();
    } finally {
      this.#release(owned.from);
    }
  }

  discard(pairs: KeyPairs): void {
    const owned = this.#owned.get(pairs);
    if (!owned) return;
    this.#owned.delete(pairs);
    owned.from.session.discard(owned.pairs);
    this.#release(owned.from);
  }

  async encapsulate(slot: SourceSlot, publicKeys: Uint8Array, peerNode: string): Promise<Encapsulated> {
    const made = await this.#client.encapsulate(
      { algorithm: slot.algorithm, publicKeys, peerNode },
      { timeoutMs: STEP_TIMEOUT_MS.encapsulate },
    );
    const count = publicKeys.length / slot.publicKeyBytes;
    if (
      made.ciphertexts.length !== count * slot.ciphertextBytes ||
      made.sharedSecrets.length !== count * slot.sharedSecretBytes
    ) {
      wipe(made.sharedSecrets);
      throw wrongSize();
    }
    return { ciphertexts: asBuffer(made.ciphertexts), sharedSecrets: asBuffer(made.sharedSecrets) };
  }

  async unavailable(): Promise<ReadonlyMap<string, string>> {
    const { algorithms } = await this.#client.listAlgorithms({}, { timeoutMs: STEP_TIMEOUT_MS.algorithms });
    return new Map(algorithms.map((row) => [row.slot?.algorithm ?? '', row.unavailable] as const));
  }

  close(): void {
    for (const { session } of [...this.#sessions, ...this.#retired]) session.close();
  }

  #next(): OpenSession {
    const at = this.#turn++ % SESSIONS;
    const current = this.#sessions[at];
    const now = this.#clock.monotonicMs();
    if (current && now - current.openedMs < MAX_AGE_MS) return current;
    const fresh = { session: this.#open(), openedMs: now, held: 0, retired: false };
    this.#sessions[at] = fresh;
    if (current) this.#retire(current);
    return fresh;
  }

  #retire(open: OpenSession): void {
    open.retired = true;
    this.#retired.add(open);
    this.#closeIfDone(open);
  }

  #release(open: OpenSession): void {
    open.held -= 1;
    this.#closeIfDone(open);
  }

  #closeIfDone(open: OpenSession): void {
    if (!open.retired || open.held > 0) return;
    this.#retired.delete(open);
    open.session.close();
  }
}

function wrongSize(): KeyweaveError {
  return new KeyweaveError('INTERNAL', 'pqc-source answered with a wrong size');
}
