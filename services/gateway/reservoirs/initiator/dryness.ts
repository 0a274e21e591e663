import { QKD_SECRET_BYTES } from '#common/catalogue/qkd-keys.ts';
import type { Log } from '#common/log/log.ts';

/** Pause after the key manager has run dry, where its rate is not known, and longest pause. */
const PAUSE_MS = 25;
const MAX_PAUSE_MS = 500;

/** Without a key for so long those who wait are told, and again each time that it has passed: at most, for a slow source. */
const PATIENCE_MS = 1_000;
const MAX_PATIENCE_MS = 5_000;

/** The operator is told of scarce keys no more often than this. */
const LOG_MS = 60_000;

/** What a read that found too little leads to. */
export interface DryMoment {
  /** Why nothing comes, for who waits. */
  readonly words: string;
  /** Milliseconds until it is worth another try. */
  readonly pauseMs: number;
  /** No key has come for so long that those who wait are to be told. */
  readonly tells: boolean;
}

/** How a reservoir bears a key manager that has less than is wanted. */
export class Dryness {
  /** Since when no key has come though there was demand; undefined: keys come. */
  #sinceMs: number | undefined;
  #reads = 0;
  #loggedMs = Number.NEGATIVE_INFINITY;
  readonly #log: Pick<Log, 'info'>;
  readonly #peer: string;

  /** @param peer the node at the other end of the link, for the log. */
  constructor(log: Pick<Log, 'info'>, peer: string) {
    this.#log = log;
    this.#peer = peer;
  }

  /**
   * Notes a read of `count` keys, and whether there were fewer than asked for; undefined where there were enough.
   *
   * @param source `rate`: keys a second that it gives, undefined where that is not known; `waiting`: streams that wait.
   */
  note(
    count: number,
    ranDry: boolean,
    { rate, waiting }: { rate: number | undefined; waiting: number },
    nowMs: number,
  ): DryMoment | undefined {
    if (count > 0) {
      this.#sinceMs = undefined;
      this.#reads = 0;
    }
    if (!ranDry) return undefined;
    this.#sinceMs ??= nowMs;
    const likely = rate ? 500 / rate : PAUSE_MS * 2 ** this.#reads;
    this.#reads = Math.min(8, this.#reads + 1);
    const dryMs = nowMs - this.#sinceMs;
    // A slow source is not a dry one: several of its gaps have to pass.
    const patienceMs = Math.min(MAX_PATIENCE_MS, Math.max(PATIENCE_MS, rate ? 4_000 / rate : 0));
    const tells = dryMs >= patienceMs;
    if (tells) this.#sinceMs = nowMs;
    this.#logAt(nowMs, rate, waiting);
    return {
      words: wordsOf(rate, waiting, dryMs),
      pauseMs: Math.min(MAX_PAUSE_MS, Math.max(PAUSE_MS, likely)),
      tells,
    };
  }

  #logAt(nowMs: number, rate: number | undefined, waiting: number): void {
    if (nowMs - this.#loggedMs < LOG_MS) return;
    this.#loggedMs = nowMs;
    const known = rate === undefined ? {} : { bitsPerSecond: Math.round(rate * QKD_SECRET_BYTES * 8) };
    this.#log.info('QKD keys are scarce', { peer: this.#peer, waiting, ...known });
  }
}

function wordsOf(rate: number | undefined, waiting: number, dryMs: number): string {
  const many = `${waiting} ${waiting === 1 ? 'stream waits' : 'streams wait'} for QKD keys`;
  if (dryMs >= PATIENCE_MS)
    return `${many}, and the key manager of this node has given none for ${Math.round(dryMs / 1_000)} s`;
  if (!rate) return `${many}, and the key manager of this node has none at the moment`;
  return `${many}; the link gives one every ${Math.round(1_000 / rate)} ms`;
}
