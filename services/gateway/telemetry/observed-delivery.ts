import { type Span, SpanKind, SpanStatusCode } from '@opentelemetry/api';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { streamHash } from '#common/ids/stream-hash.ts';
import { type Durations, secondsSince } from '#common/telemetry/durations.ts';
import type { Telemetry } from '#common/telemetry/telemetry.ts';
import { systemClock } from '#common/time/clock.ts';
import type { Close, Delivered, GetKey, KeyDelivery, OpenConnect, Opened } from '../delivery/key-delivery.ts';
import { parseKsid } from '../streams/ksid.ts';
import type { TracedBatches } from './traced-batches.ts';

/** `hit`: the key lay ready; `waited`: it came after a while. */
type GetKeyOutcome = 'hit' | 'waited' | 'refused';

/** A span that begins a trace. */
const ROOT = {
  kind: SpanKind.SERVER,
  parent: undefined,
  attributes: { 'keyweave.protocol': 'etsi-gs-qkd-004' },
} as const;

/** What became of an OPEN_CONNECT. */
type OpenOutcome = 'opened' | 'refused';

/** KeyDelivery with a histogram and spans of what applications ask. */
export class ObservedDelivery implements KeyDelivery {
  readonly #inner: KeyDelivery;
  readonly #tracing: Telemetry['tracing'];
  readonly #batches: Pick<TracedBatches, 'wanted'> | undefined;
  readonly #opens: Readonly<Record<OpenOutcome, Durations>>;
  readonly #gets: Readonly<Record<GetKeyOutcome, Durations>>;

  /** @param batches learns of the requests that are traced and wait for keys. */
  constructor(
    inner: KeyDelivery,
    { durations, tracing }: Pick<Telemetry, 'durations' | 'tracing'>,
    batches?: Pick<TracedBatches, 'wanted'>,
  ) {
    this.#inner = inner;
    this.#tracing = tracing;
    this.#batches = batches;
    const { of } = durations(
      'keyweave_request_duration_seconds',
      'Time until requests of applications were answered, by call and outcome',
    );
    const open = (outcome: OpenOutcome) => of({ call: 'open', outcome });
    const getKey = (outcome: GetKeyOutcome) => of({ call: 'getKey', outcome });
    this.#opens = { opened: open('opened'), refused: open('refused') };
    this.#gets = { hit: getKey('hit'), waited: getKey('waited'), refused: getKey('refused') };
  }

  async open(request: OpenConnect): Promise<Opened> {
    const span = this.#start('OPEN_CONNECT');
    const startedMs = systemClock.monotonicMs();
    let outcome: OpenOutcome = 'opened';
    try {
      const opened = await this.#within(span, () => this.#inner.open(request));
      span?.setAttribute('keyweave.stream', streamHash(opened.ksid));
      return opened;
    } catch (thrown) {
      outcome = 'refused';
      fail(span, thrown);
      throw thrown;
    } finally {
      this.#opens[outcome].record(secondsSince(startedMs));
      span?.end();
    }
  }

  getKey(request: GetKey): Delivered | Promise<Delivered> {
    const span = this.#start('GET_KEY');
    return span ? this.#tracedKey(request, span) : this.#timedKey(request);
  }

  /** What every key goes through. */
  #timedKey(request: GetKey): Delivered | Promise<Delivered> {
    const startedMs = systemClock.monotonicMs();
    const over = (outcome: GetKeyOutcome) => this.#gets[outcome].record(secondsSince(startedMs));
    try {
      const key = this.#inner.getKey(request);
      if (!(key instanceof Promise)) {
        over('hit');
        return key;
      }
      return key.then(
        (delivered) => {
          over('waited');
          return delivered;
        },
        (thrown: unknown) => {
          over('refused');
          throw thrown;
        },
      );
    } catch (thrown) {
      over('refused');
      throw thrown;
    }
  }

  #tracedKey(request: GetKey, span: Span): Delivered | Promise<Delivered> {
    const ksid = ksidIn(request.ksid);
    if (ksid !== undefined) span.setAttribute('keyweave.stream', streamHash(ksid));
    const satisfied = this.#waitsFor(ksid, span);
    const over = (outcome: GetKeyOutcome, index?: number) => {
      satisfied?.();
      span.setAttribute('keyweave.outcome', outcome);
      if (index !== undefined) span.setAttribute('keyweave.index', index);
      span.end();
    };
    const refused = (thrown: unknown): never => {
      fail(span, thrown);
      over('refused');
      throw thrown;
    };
    try {
      const key = this.#within(span, () => this.#timedKey(request));
      if (!(key instanceof Promise)) {
        over('hit', key.index);
        return key;
      }
      return key.then((delivered) => {
        over('waited', delivered.index);
        return delivered;
      }, refused);
    } catch (thrown) {
      return refused(thrown);
    }
  }

  close(request: Close): void {
    this.#inner.close(request);
  }

  #start(name: string): Span | undefined {
    return this.#tracing?.start(name, ROOT);
  }

  #within<T>(span: Span | undefined, act: () => T): T {
    return span && this.#tracing ? this.#tracing.run(this.#tracing.within(span), act) : act();
  }

  /** @returns to be called when it waits no more. */
  #waitsFor(ksid: string | undefined, span: Span | undefined): (() => void) | undefined {
    if (ksid === undefined || !span || !this.#tracing) return undefined;
    return this.#batches?.wanted(ksid, this.#tracing.within(span));
  }
}

/** Undefined where it is none. */
function ksidIn(text: string): string | undefined {
  try {
    return parseKsid(text);
  } catch {
    return undefined;
  }
}

/** Of an error the reason: its words may quote what an application has sent. */
function fail(span: Span | undefined, thrown: unknown): void {
  span
    ?.setStatus({ code: SpanStatusCode.ERROR })
    .setAttribute('error.type', KeyweaveError.from(thrown).reason);
}
