import { randomBytes } from 'node:crypto';
import type { RestSettings } from '../../services/gateway/frontends/etsi014/requests.ts';
import { ETSI014_KEYS } from '../../services/gateway/frontends/named-keys/key-kinds.ts';
import { MasterStreams } from '../../services/gateway/frontends/named-keys/master-streams.ts';
import { Parties, type Party } from '../../services/gateway/frontends/named-keys/parties.ts';
import { SlaveStreams } from '../../services/gateway/frontends/named-keys/slave-streams.ts';
import type { KeyStream } from '../../services/gateway/streams/key-stream.ts';
import { ALICE, BOB, from, openingsOf } from './openings.ts';
import { LIVING } from './streams.ts';

export const REST_SETTINGS: RestSettings = {
  ...{ host: '127.0.0.1', port: 0, default_method: 'hkdf-sha384' },
  default_key_sources: ['ML-KEM-768', 'QKD'],
  saes: { a: { node: ALICE }, a2: { node: ALICE }, b: { node: BOB }, b2: { node: BOB }, b3: { node: BOB } },
  ...{ key_size: 256, min_key_size: 64, max_key_size: 4_096, max_key_per_request: 128 },
  ...{ max_sae_id_count: 8, key_ttl: 600_000, ready_keys: 10 },
};

/** A stream with an end at each gateway. */
interface Ends {
  readonly master: KeyStream;
  readonly slave: KeyStream;
}

/**
 * The masters' listener at Alice's gateway and the slaves' at Bob's, which
 * reach each other without a network; nothing makes keys unless a test does.
 */
export function saeStreams(
  change: Partial<RestSettings> = {},
  ofBob: Partial<RestSettings> = {},
  limits: Parameters<typeof openingsOf>[1] = {},
) {
  const [alice, bob] = [openingsOf(ALICE, limits), openingsOf(BOB, limits)];
  const settings = { ...REST_SETTINGS, ...change };
  const [saes, bobsSaes] = [
    new Parties(ALICE, settings.saes, 'keyweave'),
    new Parties(BOB, { ...settings, ...ofBob }.saes, 'keyweave'),
  ];
  const log = { debug: () => undefined };
  const masters = new MasterStreams({
    ...{ kind: ETSI014_KEYS, delivery: alice.delivery, parties: saes, settings, clock: alice.clock, log },
  });
  const slaves = new SlaveStreams({
    ...{ kind: ETSI014_KEYS, delivery: bob.delivery, parties: bobsSaes, clock: bob.clock },
    settings: { ...settings, ...ofBob },
  });
  bob.delivery.takeOffers(slaves);
  const { script } = alice.peerOf(BOB);
  script.open = (request) => bob.responder.offered(request, ALICE);
  script.close = async (request) => {
    await bob.agreement.close(request, from(ALICE));
    return {};
  };

  const sae = (id: string): Party => saes.find(id) as Party;
  const atBob = (id: string): Party => bobsSaes.find(id) as Party;
  const group = (master: string, ...ids: string[]) => ({ master: sae(master), slaves: ids.map(sae) });
  /** The streams that are open at both gateways, in the order of their opening. */
  const ends = (): Ends[] =>
    [...alice.store.all()].flatMap((master) => {
      const slave = bob.store.get(master.id);
      return slave ? [{ master, slave }] : [];
    });
  /** Makes keys, confirmed at both ends. */
  const release = ({ master, slave }: Ends, first: number, count: number): void => {
    const keys = randomBytes(count * master.qos.keyChunkSize);
    slave.release(first, Buffer.from(keys), false);
    master.release(first, keys, false);
  };
  const taker = { party: 'a', address: '127.0.0.1:1', signal: LIVING };
  /** Time passes at both. */
  const pass = async (ms: number): Promise<void> => {
    await Promise.all([alice.clock.advance(ms), bob.clock.advance(ms)]);
  };
  return { alice, bob, masters, slaves, sae, atBob, group, ends, release, taker, pass };
}

export type SaeStreams = ReturnType<typeof saeStreams>;
