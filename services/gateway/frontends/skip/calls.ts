import { randomBytes } from 'node:crypto';
import { BadRequestError } from '../http/bad-request-error.ts';
import type { Query } from '../http/request-target.ts';
import { isOfKind } from '../named-keys/key-ids.ts';
import { ETSI014_KEYS, SKIP_KEYS } from '../named-keys/key-kinds.ts';
import type { Parties, Party } from '../named-keys/parties.ts';
import type { SlaveStreams } from '../named-keys/slave-streams.ts';
import type { TakenKey } from '../named-keys/taken-keys.ts';
import { type Caller, type KeyTaker, type Quotas, WaitingCalls } from '../named-keys/waiting-calls.ts';
import { capabilitiesAnswer, entropyAnswer, keyAnswer } from './answers.ts';
import { readKeyId, readMinEntropy, readRemoteSystem, readSize, type SkipSettings } from './requests.ts';

/** Characters of a client's text in an answer. */
const MAX_QUOTED = 128;

export interface SkipCallsOptions {
  readonly systems: Parties;
  readonly masters: KeyTaker;
  readonly slaves: Pick<SlaveStreams, 'take'>;
  readonly quotas: Quotas;
  readonly settings: SkipSettings;
}

/**
 * The calls of SKIP (draft-cisco-skip-02), from a request that has been parsed
 * to the body of its answer. Whoever sends that wipes it.
 */
export class SkipCalls {
  readonly #o: SkipCallsOptions;
  readonly #waiting: WaitingCalls;
  readonly #algorithm: string;

  constructor(options: SkipCallsOptions) {
    this.#o = options;
    this.#waiting = new WaitingCalls(SKIP_KEYS, options.masters, options.quotas);
    const { default_method: method, default_key_sources: sources } = options.settings;
    this.#algorithm = `${method}(${sources.join(',')})`;
  }

  /** What the caller may ask for: it is the local system, those of other nodes the remote ones. */
  capabilities({ party }: Caller): Buffer {
    const remote = this.#o.systems.pairs().filter(([local]) => local === party);
    return capabilitiesAnswer({
      algorithm: this.#algorithm,
      localSystem: party.id,
      remoteSystems: [...remote.map(([, { id }]) => id)],
    });
  }

  /**
   * A new key for the caller and the remote system, at once where one is ready.
   *
   * @throws BadRequestError, or as the promise KeyweaveError of any reason where none can be had.
   */
  newKey(caller: Caller, query: Query): Buffer | Promise<Buffer> {
    const bytes = readSize(query, this.#o.settings) / 8;
    const group = { master: caller.party, slaves: [this.#remote(query)] };
    const taken = this.#waiting.take({ group, bytes, count: 1 }, caller);
    return taken instanceof Promise ? taken.then(only) : only(taken);
  }

  /** The key that the remote system has got under that keyId; nobody gets it again. @throws BadRequestError, or KeyweaveError where the caller has had too many lately. */
  key(caller: Caller, keyId: string, query: Query): Buffer {
    const { party, address } = caller;
    const { slaves, quotas } = this.#o;
    const id = readKeyId(keyId);
    const remote = this.#remote(query);
    return quotas.given(caller, 1, () => {
      const found = slaves.take(party, remote, [id], address);
      if ('keys' in found) return only(found.keys);
      // Of a key that is others' nobody is told that there is one.
      if (isOfKind(id, ETSI014_KEYS)) {
        throw new BadRequestError(
          'this is no keyId of SKIP: keys of ETSI GS QKD 014 can be had over that API alone',
        );
      }
      throw new BadRequestError('the keyId is not known, or its key has been fetched');
    });
  }

  /** Random bytes of this machine. @throws BadRequestError */
  entropy(query: Query): Buffer {
    return entropyAnswer(randomBytes(Math.ceil(readMinEntropy(query) / 8)));
  }

  /** @throws BadRequestError */
  #remote(query: Query): Party {
    const { systems } = this.#o;
    const id = readRemoteSystem(query);
    const remote = systems.find(id);
    const quoted = JSON.stringify(id.slice(0, MAX_QUOTED));
    if (!remote) throw new BadRequestError(`${quoted} is no system that this key provider knows`);
    if (remote.node !== systems.nodeUuid) return remote;
    throw new BadRequestError(`${quoted} is at this key provider's node: no link goes there`);
  }
}

function only([taken]: readonly TakenKey[]): Buffer {
  return keyAnswer(taken as TakenKey);
}
