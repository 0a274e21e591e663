import { waitFor } from '#common/time/wait-for.ts';

/** Why something is not as it should be, in words without secrets; undefined when all is well. */
export type Problem = string | undefined;

/** What keeps a part from doing its work now; several reasons, one, or none. */
export type ReadinessCheck = () => Problem | readonly string[] | Promise<Problem | readonly string[]>;

/** A check that takes longer counts as failed. */
const CHECK_LIMIT_MS = 1_000;

/**
 * What a process needs to do its work: parts add named checks, the health
 * port and the gRPC health service ask. Nothing is checked while nobody asks.
 */
export class Readiness {
  readonly #checks = new Map<string, ReadinessCheck>();
  readonly #limitMs: number;
  #starting = true;
  #stopping = false;
  /** The checks that are under way, for all who ask meanwhile. */
  #asked: Promise<readonly string[]> | undefined;

  /** @param options.limitMs how long a check may take. */
  constructor(options: { limitMs?: number } = {}) {
    this.#limitMs = options.limitMs ?? CHECK_LIMIT_MS;
  }

  /**
   * Adds a check, whose `name` stands before its reasons. It must be cheap,
   * since anybody who reaches the health port has it run as often as they
   * like, and must not ask a service that asks this one.
   *
   * @returns takes the check away again.
   * @throws TypeError when there is one of that name.
   */
  add(name: string, check: ReadinessCheck): () => void {
    if (this.#checks.has(name)) throw new TypeError(`there is a readiness check ${name} already`);
    this.#checks.set(name, check);
    return () => void this.#checks.delete(name);
  }

  /** The start is over: from now on the checks say whether the process is ready. */
  started(): void {
    this.#starting = false;
  }

  /** The stop has begun: never ready again. */
  stopping(): void {
    this.#stopping = true;
  }

  get starting(): boolean {
    return this.#starting;
  }

  /** What is missing, in words; empty when the process is ready. Never rejects. */
  async problems(): Promise<readonly string[]> {
    const before = this.#phase();
    if (before !== undefined) return [before];
    this.#asked ??= this.#ask().finally(() => {
      this.#asked = undefined;
    });
    const found = await this.#asked;
    // The stop may have begun meanwhile.
    const after = this.#phase();
    return after === undefined ? found : [after];
  }

  #phase(): 'starting' | 'stopping' | undefined {
    return this.#stopping ? 'stopping' : this.#starting ? 'starting' : undefined;
  }

  async #ask(): Promise<readonly string[]> {
    const answers = await Promise.all(
      [...this.#checks].map(async ([name, check]) =>
        (await this.#outcome(check)).map((text) => `${name}: ${text}`),
      ),
    );
    return answers.flat();
  }

  async #outcome(check: ReadinessCheck): Promise<readonly string[]> {
    try {
      const answer = await waitFor(
        Promise.resolve(check()).then((problem) => ({ problem })),
        this.#limitMs,
      );
      if (answer === undefined) return ['does not answer'];
      const { problem } = answer;
      return problem === undefined ? [] : typeof problem === 'string' ? [problem] : problem;
    } catch {
      return ['cannot be checked'];
    }
  }
}
