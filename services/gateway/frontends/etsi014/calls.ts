import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { keysAnswer, statusAnswer } from './answers.ts';
import { BadRequestError, type KeyRequest, readKeyIds, readKeyRequest, readOneKeyId } from './requests.ts';
import type { SaeQuotas } from './sae-quotas.ts';
import type { RestSettings, Sae, Saes } from './saes.ts';
import type { Taker } from './streams/master-stream.ts';
import type { MasterStreams, Wanted } from './streams/master-streams.ts';
import type { SlaveStreams } from './streams/slave-streams.ts';
import { type Group, inOrder } from './streams/stream-names.ts';

/** Characters of a client's text in an answer. */
const MAX_QUOTED = 128;

/** Who calls. */
export interface Caller extends Omit<Taker, 'sae'> {
  readonly sae: Sae;
}

export interface RestCallsOptions {
  readonly saes: Saes;
  readonly masters: Pick<MasterStreams, 'take' | 'readyKeys' | 'putBack'>;
  readonly slaves: Pick<SlaveStreams, 'take'>;
  readonly quotas: Pick<SaeQuotas, 'take' | 'refund' | 'assertMayWait' | 'waits'>;
  readonly settings: RestSettings;
  readonly limits: Pick<NodeConfig['limits'], 'max_buffered_chunks' | 'max_buffered_bytes'>;
}

/**
 * The three methods of ETSI GS QKD 014 V1.1.1, clause 5, from a request that
 * has been parsed to the body of its answer. Whoever sends that wipes it.
 */
export class RestCalls {
  readonly #o: RestCallsOptions;

  constructor(options: RestCallsOptions) {
    this.#o = options;
  }

  /** Get status (5.2). @throws BadRequestError */
  status(caller: Caller, slaveId: string): Buffer {
    const { masters, settings, limits } = this.#o;
    const group = this.#groupOf(caller.sae, [slaveId]);
    const slave = group.slaves[0] as Sae;
    const maxKeys = maxStored(limits, settings.key_size);
    return statusAnswer({
      sourceKme: caller.sae.node,
      targetKme: slave.node,
      master: caller.sae.id,
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
    const { settings, quotas } = this.#o;
    const asked = readKeyRequest(request, settings);
    this.#assertFits(asked);
    const group = this.#groupOf(caller.sae, [slaveId, ...asked.additionalSlaves]);
    const sae = caller.sae.id;
    quotas.assertMayWait(sae);
    quotas.take(sae, asked.number);
    try {
      const answer = this.#newKeys(caller, { group, bytes: asked.size / 8, count: asked.number });
      if (!(answer instanceof Promise)) return answer;
      return quotas.waits(sae, answer).catch((thrown: unknown) => {
        quotas.refund(sae, asked.number);
        throw thrown;
      });
    } catch (thrown) {
      quotas.refund(sae, asked.number);
      throw thrown;
    }
  }

  /** Get key with key IDs (5.4), of a POST. @throws BadRequestError, NotEntitledError */
  decKeys(caller: Caller, masterId: string, request: unknown): Buffer {
    return this.#keysOf(caller, masterId, readKeyIds(request, this.#o.settings));
  }

  /** The same of a GET: one key ID. */
  decKey(caller: Caller, masterId: string, query: unknown): Buffer {
    return this.#keysOf(caller, masterId, [readOneKeyId(query)]);
  }

  #newKeys({ sae, address, signal }: Caller, wanted: Wanted): Buffer | Promise<Buffer> {
    const { masters } = this.#o;
    const taken = masters.take(wanted, { sae: sae.id, address, signal });
    if (!(taken instanceof Promise)) return keysAnswer(taken);
    return taken.then((keys) => {
      if (!signal.aborted) return keysAnswer(keys);
      for (const key of keys) masters.putBack(wanted, key);
      throw new KeyweaveError('TIMEOUT', 'the SAE has gone away');
    });
  }

  #keysOf({ sae, address }: Caller, masterId: string, ids: readonly string[]): Buffer {
    const { saes, slaves, quotas } = this.#o;
    const master = saes.find(masterId);
    if (!master) throw new BadRequestError(`${quoted(masterId)} is no SAE that this KME knows`);
    quotas.take(sae.id, ids.length);
    const found = slaves.take(sae, master, ids, address);
    if ('keys' in found) return keysAnswer(found.keys);
    quotas.refund(sae.id, ids.length);
    if ('barred' in found) throw new NotEntitledError();
    throw new BadRequestError(
      'one or more keys specified are not found on KME',
      found.missing.map((id) => ({ key_ID: id })),
    );
  }

  /** The group of those whom a master names. @throws BadRequestError */
  #groupOf(master: Sae, slaveIds: readonly string[]): Group {
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
    const [first, ...others] = slaves as [Sae, ...Sae[]];
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
