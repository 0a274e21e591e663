import { join } from 'node:path';
import { type Judgement, LoadJudge, RECOVERY_LIMIT_MS } from '../helpers/load-judge.ts';
import { type LoadedNode, PairLoad } from '../helpers/pair-load.ts';
import { HOME, NODES, type NodeName, PAIRS } from './container-network.ts';

export { type Judgement, RECOVERY_LIMIT_MS };

/** Over all pairs of nodes, at each end. */
const KEYS_PER_SECOND = 51;

const loaded = (name: NodeName): LoadedNode => ({ name, ...NODES[name] });

/** Applications at all three nodes that fetch keys all along, and what they have seen. */
export class NetworkLoad {
  readonly #judge = new LoadJudge(2 * PAIRS.length);
  #loads: readonly PairLoad[] = [];

  private constructor() {}

  static async start(): Promise<NetworkLoad> {
    const load = new NetworkLoad();
    const keysPerSecond = KEYS_PER_SECOND / PAIRS.length;
    load.#loads = await Promise.all(
      PAIRS.map(([a, b]) =>
        PairLoad.start({ between: [loaded(a), loaded(b)], keysPerSecond, sink: load.#judge }),
      ),
    );
    return load;
  }

  /** Stops the applications and keeps their history, digests only, under `.cache/containers`. */
  async stop(name: string): Promise<void> {
    await Promise.all(this.#loads.map((load) => load.stop()));
    this.#judge.write(join(HOME, '.cache', 'containers', `${name}.jsonl`));
  }

  get deliveries(): { both: number; alone: number } {
    return this.#judge.deliveries;
  }

  /** See LoadJudge. */
  judge(trouble: (felt: () => boolean) => Promise<void>): Promise<Judgement> {
    return this.#judge.judge(trouble);
  }
}
