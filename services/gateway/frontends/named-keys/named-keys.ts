import type { Log } from '#common/log/log.ts';
import type { Clock } from '#common/time/clock.ts';
import type { KeyDelivery, StreamDirectory } from '../../delivery/key-delivery.ts';
import type { ListenerStreams } from '../../delivery/listener-streams.ts';
import type { KeyKind } from './key-kinds.ts';
import type { Delivery } from './master-stream.ts';
import { MasterStreams } from './master-streams.ts';
import type { Parties } from './parties.ts';
import type { NamedKeysSettings } from './settings.ts';
import { SlaveStreams } from './slave-streams.ts';

/** How often keys that have lain too long are looked for, at most. */
const SWEEP_MS = 15_000;

export interface NamedKeysOptions {
  readonly kind: KeyKind;
  readonly parties: Parties;
  readonly settings: NamedKeysSettings;
  readonly keys: KeyDelivery;
  readonly streams: Pick<StreamDirectory, 'status'> & ListenerStreams;
  readonly clock: Clock;
  readonly log: Pick<Log, 'debug'>;
}

/** Streams of one kind of listener at this node, of its parties as masters and as slaves. */
export class NamedKeys {
  readonly masters: MasterStreams;
  readonly slaves: SlaveStreams;
  readonly #ttlMs: number;
  readonly #takeNoMore: () => void;
  #sweeps: NodeJS.Timeout | undefined;

  /** Takes what other nodes offer from now on. */
  constructor({ keys, streams, ...options }: NamedKeysOptions) {
    const delivery: Delivery = {
      open: (request) => keys.open(request),
      getKey: (request) => keys.getKey(request),
      close: (request) => keys.close(request),
      status: (request) => streams.status(request),
      takeOffers: (taker) => streams.takeOffers(taker),
      wipeOlder: (request, ageMs) => streams.wipeOlder(request, ageMs),
    };
    this.masters = new MasterStreams({ ...options, delivery });
    this.slaves = new SlaveStreams({ ...options, delivery });
    this.#ttlMs = options.settings.key_ttl;
    this.#takeNoMore = delivery.takeOffers(this.slaves);
  }

  /** Opens the streams of the first pairs, and looks after all of them from then on. */
  start(): void {
    this.masters.keepWarm();
    this.#sweeps = setInterval(
      () => {
        this.masters.sweep();
        this.slaves.sweep();
      },
      Math.min(SWEEP_MS, this.#ttlMs / 4),
    ).unref();
  }

  /** Wipes what it holds. */
  stop(): void {
    clearInterval(this.#sweeps);
    this.#takeNoMore();
    this.slaves.stop();
    this.masters.stop();
  }
}
