import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { BadRequestError } from '../http/bad-request-error.ts';
import { isOfKind } from '../named-keys/key-ids.ts';
import { ETSI014_KEYS, SKIP_KEYS } from '../named-keys/key-kinds.ts';
import type { MasterStreams } from '../named-keys/master-streams.ts';
import type { Parties, Party } from '../named-keys/parties.ts';
import type { SlaveStreams } from '../named-keys/slave-streams.ts';
import { type Group, inOrder } from '../named-keys/stream-names.ts';
import { type Caller, type Quotas, WaitingCalls } from '../named-keys/waiting-calls.ts';
import { keysAnswer, statusAnswer } from './answers.ts';
import { type KeyRequest, type RestSettings, readKeyIds, readKeyRequest, readOneKeyId } from './requests.ts';

/** Of a key that has the name of one of another API. */
const OF_SKIP = 'keys of SKIP can be had over SKIP alone';

/** Characters of a client's text in an answer. */
const MAX_QUOTED = 128;

export interface RestCallsOptions {
  readonly saes: Parties;
  readonly masters: Pick<MasterStreams, 'take' | 'readyKeys' | 'putBack'>;
  readonly slaves: Pick<SlaveStreams, 'take'>;
  readonly quotas: Quotas;
  readonly settings: RestSettings;
  readonly limits: Pick<NodeConfig['limits'], 'max_buffered_chunks' | 'max_buffered_bytes'>;
}

/**
 * The three methods of ETSI GS QKD 014 V1.1.1, clause 5, from a request that
 * has been parsed to the body of its answer. Whoever sends that wipes it.
 */
export class RestCalls {
  readonly #o: RestCallsOptions;
  readonly #waiting: WaitingCalls;

  constructor(options: RestCallsOptions) {
    this.#o = options;
    this.#waiting = new WaitingCalls(ETSI014_KEYS, options.masters, options.quotas);
  }

  /** Get status (5.2). @throws BadRequestError */
  status(caller: Caller, slaveId: string): Buffer {
    const { masters, settings, limits } = this.#o;
    const group = this.#groupOf(caller.party, [slaveId]);
    const slave = group.slaves[0] as Party;
    const maxKeys = maxStored(limits, settings.key_size);
    return statusAnswer({
      sourceKme: caller.party.node,
      targetKme: slave.node,
      master: caller.party.id,
      slave: slave.id,
      keySize: settings.key_size,
      storedKeys: Math.min(maxKeys, masters.readyKeys(group, settings.key_size / 8)),
      maxKeys,
      maxKeysPerRequest: settings.max_key_per_request,
      maxKeySize: settings.max_key_size,
      minKeySize: settings.min_key_size,
      maxSaeIds: settings.max_sae_id_count,
    });
  }

  /**
   * Get key (5.3), at once where the keys are ready.
   *
   * @param request body of a POST, query of a GET.
   * @throws BadRequestError, or as the promise KeyweaveError of any reason where keys cannot be had.
   */
  encKeys(caller: Caller, slaveId: string, request: unknown): Buffer | Promise<Buffer> {
    const { settings } = this.#o;
    const asked = readKeyRequest(request, settings);
    this.#assertFits(asked);
    const group = this.#groupOf(caller.party, [slaveId, ...asked.additionalSlaves]);
    const taken = this.#waiting.take({ group, bytes: asked.size / 8, count: asked.number }, caller);
    return taken instanceof Promise ? taken.then(keysAnswer) : keysAnswer(taken);
  }

  /** Get key with key IDs (5.4), of a POST. @throws BadRequestError, NotEntitledError */
  decKeys(caller: Caller, masterId: string, request: unknown): Buffer {
    return this.#keysOf(caller, masterId, readKeyIds(request, this.#o.settings));
  }

  /** The same of a GET: one key ID. */
  decKey(caller: Caller, masterId: string, query: unknown): Buffer {
    return this.#keysOf(caller, masterId, [readOneKeyId(query)]);
  }

  #keysOf(caller: Caller, masterId: string, ids: readonly string[]): Buffer {
    const { party, address } = caller;
    const { saes, slaves, quotas } = this.#o;
    const master = saes.find(masterId);
    if (!master) throw new BadRequestError(`${quoted(masterId)} is no SAE that this KME knows`);
    return quotas.given(caller, ids.length, () => {
      const found = slaves.take(party, master, ids, address);
      if ('keys' in found) return keysAnswer(found.keys);
      if ('barred' in found) throw quotas.told(caller, new NotEntitledError());
      throw new BadRequestError(
        'one or more keys specified are not found on KME',
        found.missing.map((id) => ({ key_ID: id, ...(isOfKind(id, SKIP_KEYS) && { hint: OF_SKIP }) })),
      );
    });
  }

  /** The group of those whom a master names. @throws BadRequestError */
  #groupOf(master: Party, slaveIds: readonly string[]): Group {
    const { saes } = this.#o;
    const slaves = [...new Set(slaveIds)].map((id) => {
      const slave = saes.find(id);
      if (!slave) throw new BadRequestError(`${quoted(id)} is no SAE that this KME knows`);
      if (slave.node === saes.nodeUuid) {
        throw new BadRequestError(
          `${quoted(id)} is at this KME, as the master SAE is: there is no link between them`,
        );
      }
      return slave;
    });
    const [first, ...others] = slaves as [Party, ...Party[]];
    if (others.length === 0) return { master, slaves };
    const elsewhere = others.find(({ node }) => node !== first.node);
    if (elsewhere) {
      throw new BadRequestError('the same key can be given to slave SAEs of one KME only', [
        { additional_slave_SAE_IDs: `${quoted(elsewhere.id)} is not at the KME of ${quoted(first.id)}` },
      ]);
    }
    return { master, slaves: inOrder(slaves) };
  }

  #assertFits({ number, size }: KeyRequest): void {
    const most = maxStored(this.#o.limits, size);
    if (number <= most) return;
    throw new BadRequestError(`number shall be 1 to ${most} for keys of ${size} bits`);
  }
}

/** The keys are for others than the SAE that asks. */
export class NotEntitledError extends KeyweaveError {
  constructor() {
    super('NOT_ALLOWED', 'this SAE is not among those that the keys were requested for');
  }
}

/** Keys of so many bits that one stream holds. */
function maxStored(limits: RestCallsOptions['limits'], bits: number): number {
  return Math.max(
    1,
    Math.min(limits.max_buffered_chunks, Math.floor((limits.max_buffered_bytes * 8) / bits)),
  );
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, MAX_QUOTED));
}
