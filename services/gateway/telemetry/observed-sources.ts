import { SpanKind, SpanStatusCode } from '@opentelemetry/api';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { isSound, type Outcome } from '#common/errors/outcome.ts';
import { LabelledDurations, secondsSince } from '#common/telemetry/durations.ts';
import type { Telemetry } from '#common/telemetry/telemetry.ts';
import { systemClock } from '#common/time/clock.ts';
import type { HybridizerClient } from '../clients/hybridizer-client.ts';
import type { KemClient } from '../clients/kem-client.ts';
import type { QkdClient } from '../clients/qkd-client.ts';

const QKD = 'QKD';

/**
 * The sources of secrets and the hybridizer, with a histogram and spans of what
 * is asked of them: `source` is a KEM of the catalogue, QKD or the hybridizer;
 * `outcome` is ok, short (a key manager gave fewer keys than it was asked for)
 * or the reason of a failure.
 */
export class ObservedSources {
  readonly #telemetry: Telemetry;
  readonly #durations: LabelledDurations;
  readonly #qkdBytes;

  constructor(telemetry: Telemetry) {
    const { meter, durations } = telemetry;
    this.#telemetry = telemetry;
    this.#durations = new LabelledDurations(
      durations(
        'keyweave_source_duration_seconds',
        'Time that sources and the hybridizer took, by source, operation and outcome',
      ),
      ['source', 'operation', 'outcome'],
    );
    this.#qkdBytes = meter.createCounter('keyweave_qkd_bytes_total', {
      description: 'Key material that the key manager gave, in bytes',
    });
  }

  kem(inner: KemClient): KemClient {
    return {
      generate: (slot, count) =>
        this.#observe(slot.algorithm, 'generate', { count }, () => inner.generate(slot, count)),
      decapsulate: (slot, pairs, ciphertexts) =>
        this.#observe(
          slot.algorithm,
          'decapsulate',
          { count: ciphertexts.length / slot.ciphertextBytes },
          () => inner.decapsulate(slot, pairs, ciphertexts),
        ),
      discard: (pairs) => inner.discard(pairs),
      encapsulate: (slot, publicKeys, peerNode) =>
        this.#observe(slot.algorithm, 'encapsulate', { count: publicKeys.length / slot.publicKeyBytes }, () =>
          inner.encapsulate(slot, publicKeys, peerNode),
        ),
      unavailable: () => inner.unavailable(),
    };
  }

  qkd(inner: QkdClient): QkdClient {
    return {
      ...inner,
      open: (request, signal) => this.#observe(QKD, 'open', {}, () => inner.open(request, signal)),
      fetch: async (fetches) => {
        if (fetches.length === 0) return inner.fetch(fetches);
        const asked = fetches.map(({ count, keyBytes }) => count * keyBytes);
        const outcome = (results: readonly Outcome<Buffer>[]) =>
          outcomeOf(results, (keys, i) => (keys.length < (asked[i] ?? 0) ? 'short' : 'ok'));
        const count = fetches.reduce((sum, fetch) => sum + fetch.count, 0);
        const fetched = await this.#observe(
          QKD,
          'fetch',
          { count },
          () => inner.fetch(fetches),
          (got) => outcome(got.results),
        );
        for (const keys of fetched.results) if (isSound(keys)) this.#qkdBytes.add(keys.length);
        return fetched;
      },
    };
  }

  hybridizer(inner: HybridizerClient): HybridizerClient {
    return {
      derive: (batches) => {
        const count = batches.reduce((sum, batch) => sum + batch.count, 0);
        return this.#observe(
          'hybridizer',
          'derive',
          { count },
          () => inner.derive(batches),
          (derived) => outcomeOf(derived, () => 'ok'),
        );
      },
    };
  }

  async #observe<T>(
    source: string,
    operation: string,
    { count }: { count?: number },
    act: () => Promise<T>,
    outcomeOfAnswer: (answer: T) => string = () => 'ok',
  ): Promise<T> {
    const { tracing } = this.#telemetry;
    const parent = tracing?.active();
    const span =
      parent &&
      tracing?.start(`${operation} ${source}`, {
        kind: SpanKind.INTERNAL,
        parent,
        attributes: {
          'keyweave.source': source,
          ...(count !== undefined && { 'keyweave.count': count }),
        },
      });
    const startedMs = systemClock.monotonicMs();
    let outcome = 'ok';
    try {
      const answer = await (span && tracing ? tracing.run(tracing.within(span), act) : act());
      outcome = outcomeOfAnswer(answer);
      return answer;
    } catch (thrown) {
      outcome = KeyweaveError.from(thrown).reason;
      throw thrown;
    } finally {
      this.#durations.of(source, operation, outcome).record(secondsSince(startedMs));
      if (span) {
        if (outcome !== 'ok')
          span.setStatus({ code: SpanStatusCode.ERROR }).setAttribute('error.type', outcome);
        span.end();
      }
    }
  }
}

/** The first that is not ok. */
function outcomeOf<T>(results: readonly Outcome<T>[], ofSound: (result: T, i: number) => string): string {
  for (const [i, result] of results.entries()) {
    const outcome = isSound(result) ? ofSound(result, i) : result.reason;
    if (outcome !== 'ok') return outcome;
  }
  return 'ok';
}
