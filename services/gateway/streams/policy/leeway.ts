import type { ChunkBuffer } from '../chunk-buffer.ts';
import { bothLet, LACKS_NOTHING, type MayLack, mayBe } from './lacking.ts';

/** What both nodes let the chunks of a stream be made of beside all that it names. */
export class Leeway {
  #standIn: boolean;
  #mayLack: MayLack;

  constructor(standIn: boolean, mayLack: MayLack = LACKS_NOTHING) {
    this.#standIn = standIn;
    this.#mayLack = mayLack;
  }

  /** Whether a shared_seed may stand in for a source. */
  get standIn(): boolean {
    return this.#standIn;
  }

  get mayLack(): MayLack {
    return this.#mayLack;
  }

  /** What both nodes have agreed on. */
  agree(standIn: boolean, mayLack: MayLack): void {
    this.#standIn = standIn;
    this.#mayLack = mayLack;
  }

  /** The application of this end wants no chunk that lacks more than that; what is here already is wiped. */
  narrow(mayLack: MayLack, standIn: boolean, buffer: Pick<ChunkBuffer, 'wipeUnfit'>): void {
    this.#mayLack = bothLet(this.#mayLack, mayLack);
    this.#standIn &&= standIn;
    buffer.wipeUnfit(({ degraded }) => !mayBe(degraded, this));
  }
}
