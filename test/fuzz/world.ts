import { randomUUID } from 'node:crypto';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { parseStreamTerms } from '../../services/gateway/streams/stream-terms.ts';
import { breaches, type HistoryEntry } from '../helpers/delivery-history.ts';
import type { Wire } from '../helpers/lying-peer.ts';
import type { LocalNode } from '../helpers/network.ts';
import {
  type CallPlan,
  type ConversationPlan,
  LIAR,
  type StreamPlan,
  type StreamReference,
} from './conversation-plans.ts';

/** Keys shorter than this may be equal by chance. */
const TELLING_BYTES = 16;

/** A stream that the applications of a conversation mean to open, or have opened. */
export interface PlannedStream {
  readonly plan: StreamPlan;
  readonly source: string;
  readonly destination: string;
  /** Once an application has been told, or has chosen it. */
  ksid: string | undefined;
}

/** What the applications and the peer of one conversation share, and what came of it. */
export class World {
  readonly nodes: readonly LocalNode[];
  readonly wires: readonly Wire[];
  readonly streams: readonly PlannedStream[];
  /** Every KSID that an answer has named, with the chunk size of its stream. */
  readonly chunkBytes = new Map<string, number>();
  readonly history: HistoryEntry[] = [];
  readonly faults: string[] = [];
  /** Nothing changes the timeouts that the applications ask for. */
  readonly timesAreKnown: boolean;
  readonly #honest: readonly string[];
  readonly #counts: Map<string, number>;

  constructor(options: {
    nodes: readonly LocalNode[];
    wires: readonly Wire[];
    honest: readonly string[];
    plan: ConversationPlan;
    counts: Map<string, number>;
  }) {
    const { streams, clients, calls, lies } = options.plan;
    const opens = clients.flatMap(({ steps }) => steps.filter((step) => step.do === 'open'));
    this.timesAreKnown =
      opens.every(({ edit }) => edit === undefined) &&
      ![...calls, ...lies].some(({ method }) => method === 'open');
    this.nodes = options.nodes;
    this.wires = options.wires;
    this.#honest = options.honest;
    this.#counts = options.counts;
    this.streams = streams.map((plan): PlannedStream => {
      const name = `fuzz-${randomUUID()}`;
      return {
        plan,
        source: `hybrid://${name}@${options.nodes[plan.from]?.uuid}?${plan.query}`,
        destination: `hybrid://${name}@${options.nodes[plan.to]?.uuid}`,
        ksid: plan.predefined ? randomUUID() : undefined,
      };
    });
  }

  /** For the summary: what happened how often. */
  count(what: string): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1);
  }

  stream(n: number): PlannedStream {
    return this.streams[n % this.streams.length] as PlannedStream;
  }

  /** What a step names as key_stream_id; `own` is the stream of whoever names it. */
  ksid(reference: StreamReference, own?: PlannedStream): string {
    switch (reference.of) {
      case 'own':
        return own?.ksid ?? randomUUID();
      case 'plan':
        return this.stream(reference.n).ksid ?? randomUUID();
      case 'honest':
        return this.#honest[reference.n % this.#honest.length] as string;
      case 'nobody':
        return randomUUID();
      case 'nil':
        return '00000000-0000-0000-0000-000000000000';
      case 'malformed':
        return 'no UUID';
    }
  }

  ksidBytes(reference: StreamReference): Buffer {
    const text = this.ksid(reference);
    return reference.of === 'malformed' ? Buffer.from(text) : Buffer.from(text.replaceAll('-', ''), 'hex');
  }

  /** Source, destination, method and slots of an offer of the third node to a call's target. */
  urisFor({ n, target }: CallPlan): object {
    const to = this.nodes[target]?.uuid;
    const planned = this.streams.find(({ plan }) => plan.from === LIAR && plan.to === target);
    const { plan } = planned ?? this.stream(n);
    const source = planned?.source ?? `hybrid://lure@${this.nodes[LIAR]?.uuid}?${plan.query}`;
    const destination = planned?.destination ?? `hybrid://lure@${to}`;
    try {
      const terms = parseStreamTerms(source, destination, {
        method: 'xoring',
        keySources: ['ML-KEM-768', 'QKD'],
      });
      return { source, destination, method: terms.method.name, slots: [...terms.slots] };
    } catch (error) {
      if (!(error instanceof KeyweaveError)) throw error;
      return { source, destination };
    }
  }

  /** Its applications may close it and open it anew, and then the indexes begin anew, with other keys. */
  #isPredefined(ksid: string): boolean {
    return this.streams.some((stream) => stream.ksid === ksid);
  }

  /** What must never be, in what this conversation's own applications were given. */
  breaches(): string[] {
    return [...Map.groupBy(this.history, ({ ksid }) => ksid)].flatMap(([ksid, entries]) => {
      const bytes = this.chunkBytes.get(ksid) ?? entries.find(({ keyBytes }) => keyBytes)?.keyBytes ?? 0;
      if (this.#isPredefined(ksid)) return keysGivenTwice(entries, bytes);
      // Several connections read the same end here, so that answers cross; and short keys are equal by chance.
      return breaches(entries, bytes).filter(
        (line) => !/after index/.test(line) && (bytes >= TELLING_BYTES || !/the key of/.test(line)),
      );
    });
  }
}

/** Each end is given a key once, whatever index it has. */
function keysGivenTwice(entries: readonly HistoryEntry[], bytes: number): string[] {
  if (bytes < TELLING_BYTES) return [];
  const seen = new Set<string>();
  return entries.flatMap(({ ksid, end, index, digest }) => {
    if (digest === undefined) return [];
    const given = `${end} ${digest}`;
    if (seen.has(given)) return [`${ksid} index ${index} end ${end}: a key was given twice`];
    seen.add(given);
    return [];
  });
}
