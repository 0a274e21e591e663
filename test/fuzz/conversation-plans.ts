import fc from 'fast-check';
import { METHODS, type Method } from '../helpers/lying-peer.ts';
import { type Edit, WAYS } from '../helpers/message-edits.ts';

/** Nodes by their place: two under test, and the one whose agreement with them is in the hands of the test. */
export const NODES = ['Alice', 'Bob', 'Carol'] as const;
export const LIAR = 2;

/** Which stream a step means: one of the conversation's, or something that is none of its business. */
export type StreamReference =
  /** That of the application itself. */
  | { readonly of: 'own' }
  | { readonly of: 'plan'; readonly n: number }
  /** One that an honest pair of applications is reading. */
  | { readonly of: 'honest'; readonly n: number }
  | { readonly of: 'nobody' | 'nil' | 'malformed' };

/** A stream that the conversation's applications mean to open. */
export interface StreamPlan {
  readonly from: number;
  readonly to: number;
  readonly query: string;
  /** Both applications name the KSID themselves. */
  readonly predefined: boolean;
  readonly qos: Readonly<Record<string, unknown>>;
}

export type Step =
  | { readonly do: 'open'; readonly edit: Edit | undefined; readonly named: StreamReference | undefined }
  | {
      readonly do: 'get';
      readonly of: StreamReference;
      readonly index: unknown;
      readonly metadata: unknown;
      readonly times: number;
    }
  | { readonly do: 'close'; readonly of: StreamReference }
  | { readonly do: 'junk'; readonly text: string }
  | { readonly do: 'large'; readonly bytes: number }
  | { readonly do: 'answers' }
  | { readonly do: 'wait'; readonly ms: number };

/** One connection of an application and all that comes over it. */
export interface ClientPlan {
  /** Which of the conversation's streams it is about, and at which end. */
  readonly stream: number;
  readonly side: 0 | 1;
  readonly steps: readonly Step[];
  readonly sending: 'whole' | 'bytewise' | 'at once';
  readonly end: 'close' | 'half-close' | 'half-request' | 'reset' | 'silence' | 'never reading';
  /** What it sends without end where it is never reading. */
  readonly flood: 'keys' | 'empty requests' | 'garbage' | 'openings';
}

/** One call by the certificate of the third node. */
export interface CallPlan {
  readonly target: 0 | 1;
  readonly method: Method;
  /** made: an honest message of that kind; seen: one that went over a wire before; bytes: no message at all. */
  readonly what: 'made' | 'seen' | 'bytes';
  readonly of: StreamReference;
  readonly n: number;
  readonly edits: readonly Edit[];
  readonly bytes: Uint8Array;
  /** Entries of metadata that it sends along. */
  readonly claims: 'nothing' | 'peer' | 'caller' | 'both';
  readonly deadline: string | undefined;
  /** Given up by the caller after this, milliseconds. */
  readonly patienceMs: number;
  readonly times: number;
}

/** What a wire does with the calls of one method while the conversation lasts. */
export interface LiePlan {
  readonly wire: number;
  readonly method: Method;
  readonly about: 'request' | 'response' | 'both';
  readonly how: 'edit' | 'silence' | 'refuse' | 'repeat' | 'old answer' | 'old request';
  readonly edits: readonly Edit[];
  /** Every how manieth call. */
  readonly every: number;
}

export interface ConversationPlan {
  readonly streams: readonly StreamPlan[];
  readonly clients: readonly ClientPlan[];
  readonly calls: readonly CallPlan[];
  readonly lies: readonly LiePlan[];
}

const QUERIES = [
  'hybridization=hkdf-sha384&key_sources=ML-KEM-768,QKD',
  'hybridization=xoring&key_sources=ML-KEM-768,QKD',
  'hybridization=hmac&kem_mec=ML-KEM-512',
  'hybridization=xorhmac&key_sources=QKD,ML-KEM-1024',
  'hybridization=kmac256&key_sources=ML-KEM-1024',
  'hybridization=catkdf&key_sources=QKD',
];
const ODD_QUERIES = [
  '',
  'hybridization=xoring',
  'hybridization=nothing&key_sources=QKD',
  'hybridization=hmac&key_sources=QKD,QKD,ML-KEM-512,ML-KEM-512',
  `hybridization=hkdf-sha256&key_sources=${'QKD,'.repeat(16)}QKD`,
  'hybridisation=hmac&key_source=QKD',
  'hybridization=hmac&kem_mec=QKD&key_sources=QKD',
];

const often = <T>(arbitrary: fc.Arbitrary<T>, weight: number) => ({ arbitrary, weight });

const edit: fc.Arbitrary<Edit> = fc.record({
  at: fc.nat(200),
  how: fc.constantFrom(...WAYS),
  by: fc.oneof(fc.nat(40), fc.nat(2 ** 31 - 1)),
});

const planned = fc.record({ of: fc.constant('plan' as const), n: fc.nat(3) });

const reference: fc.Arbitrary<StreamReference> = fc.oneof(
  often(fc.constant({ of: 'own' as const }), 12),
  often(planned, 3),
  often(fc.record({ of: fc.constantFrom('nobody' as const, 'nil' as const, 'malformed' as const) }), 1),
);

/** Peers may name anything; applications on the plain port may read what they can name. */
const peersReference: fc.Arbitrary<StreamReference> = fc.oneof(
  often(planned, 4),
  often(fc.record({ of: fc.constant('honest' as const), n: fc.nat(3) }), 2),
  often(fc.record({ of: fc.constantFrom('nobody' as const, 'nil' as const, 'malformed' as const) }), 1),
);

const oddNumber = fc.oneof(fc.nat(100), fc.constantFrom(-1, 0, 0xffffffff, 2 ** 32, 1.5, null, '7'));

/** Short limits, so that what nobody asks for any more is soon gone. */
const qos = fc.record({
  key_chunk_size: fc.oneof(
    often(fc.constant(32), 6),
    often(fc.constantFrom(0, 1, 16, 33, 4_096, 65_536, 0xffffffff), 1),
  ),
  max_bps: fc.oneof(often(fc.constant(0), 4), often(fc.nat(100_000), 1)),
  min_bps: fc.constantFrom(0, 32, 1_000_000),
  jitter: fc.constantFrom(0, 1),
  priority: fc.constantFrom(0, 7),
  timeout: fc.oneof(often(fc.integer({ min: 200, max: 1_500 }), 4), often(fc.constantFrom(0, 1), 1)),
  ttl: fc.integer({ min: 2, max: 8 }),
  metadata_mimetype: fc.constantFrom('application/json', 'application/json; charset=utf-8', '', 'text/plain'),
});

const stream: fc.Arbitrary<StreamPlan> = fc
  .record({
    from: fc.nat(2),
    over: fc.integer({ min: 1, max: 2 }),
    query: fc.oneof(often(fc.constantFrom(...QUERIES), 8), often(fc.constantFrom(...ODD_QUERIES), 1)),
    predefined: fc.oneof(often(fc.constant(false), 4), often(fc.constant(true), 1)),
    qos,
  })
  .map(({ from, over, ...rest }) => ({ from, to: (from + over) % NODES.length, ...rest }));

const optionalEdit = fc.option(edit, { freq: 6, nil: undefined });

const get: fc.Arbitrary<Step> = fc.record({
  do: fc.constant('get' as const),
  of: reference,
  index: fc.oneof(often(fc.constant(undefined), 6), often(oddNumber, 2)),
  metadata: fc.oneof(
    often(fc.constant(undefined), 10),
    often(
      fc.record({
        size: fc.oneof(fc.constantFrom(46, 1_024), oddNumber),
        buffer: fc.constantFrom('', 'The metadata field is not used for the moment.'),
      }),
      3,
    ),
    often(fc.jsonValue({ maxDepth: 2 }), 1),
  ),
  times: fc.oneof(often(fc.integer({ min: 1, max: 4 }), 12), often(fc.integer({ min: 5, max: 600 }), 1)),
});

const open: fc.Arbitrary<Step> = fc.record({
  do: fc.constant('open' as const),
  edit: optionalEdit,
  named: fc.option(peersReference, { freq: 8, nil: undefined }),
});

const step: fc.Arbitrary<Step> = fc.oneof(
  often(get, 8),
  often(open, 2),
  often(fc.record({ do: fc.constant('close' as const), of: reference }), 2),
  often(fc.record({ do: fc.constant('answers' as const) }), 3),
  often(fc.record({ do: fc.constant('wait' as const), ms: fc.nat(250) }), 1),
  often(
    fc.record({
      do: fc.constant('junk' as const),
      text: fc.oneof(
        fc.string(),
        fc.json({ maxDepth: 3 }),
        fc.constantFrom('}{', '['.repeat(500), '\0'.repeat(300), 'x '.repeat(400)),
      ),
    }),
    1,
  ),
  often(
    fc.record({ do: fc.constant('large' as const), bytes: fc.constantFrom(60_000, 65_536, 70_000, 400_000) }),
    1,
  ),
);

const rest = fc.array(step, { maxLength: 8, size: 'max' });
const flood = fc.constantFrom(
  'keys' as const,
  'empty requests' as const,
  'garbage' as const,
  'openings' as const,
);

const manners = {
  sending: fc.oneof(
    often(fc.constant('whole' as const), 4),
    often(fc.constantFrom('bytewise' as const, 'at once' as const), 1),
  ),
  end: fc.oneof(
    often(fc.constant('close' as const), 6),
    often(fc.constantFrom('half-close' as const, 'reset' as const), 2),
    often(fc.constantFrom('half-request' as const, 'silence' as const, 'never reading' as const), 1),
  ),
  flood,
};
const opening: Step = { do: 'open', edit: undefined, named: undefined };

/** Any connection at all. */
const client: fc.Arbitrary<ClientPlan> = fc.record({
  stream: fc.nat(3),
  side: fc.constantFrom(0 as const, 1 as const),
  steps: fc
    .tuple(fc.oneof(fc.constant(opening), step), rest)
    .map(([first, others]): Step[] => [first, ...others]),
  ...manners,
});

/** The two applications of one stream, which both open it before anything else. */
const pair: fc.Arbitrary<ClientPlan[]> = fc
  .record({
    stream: fc.nat(3),
    each: fc.tuple(fc.record({ rest, ...manners }), fc.record({ rest, ...manners })),
  })
  .map(({ stream, each }) =>
    each.map(
      (one, i): ClientPlan => ({
        stream,
        side: i === 0 ? 0 : 1,
        steps: [opening, ...one.rest],
        sending: one.sending,
        end: one.end,
        flood: one.flood,
      }),
    ),
  );

const call: fc.Arbitrary<CallPlan> = fc.record({
  target: fc.constantFrom(0 as const, 1 as const),
  method: fc.constantFrom(...METHODS),
  what: fc.oneof(
    often(fc.constant('made' as const), 6),
    often(fc.constant('seen' as const), 3),
    often(fc.constant('bytes' as const), 1),
  ),
  of: peersReference,
  n: fc.nat(15),
  edits: fc.oneof(often(fc.constant([]), 1), often(fc.array(edit, { minLength: 1, maxLength: 3 }), 2)),
  bytes: fc.uint8Array({ maxLength: 60 }),
  claims: fc.oneof(
    often(fc.constant('nothing' as const), 3),
    often(fc.constantFrom('peer' as const, 'caller' as const, 'both' as const), 1),
  ),
  deadline: fc.oneof(
    often(fc.constant(undefined), 8),
    often(fc.constantFrom('0', '-1', 'NaN', '1e99', ''), 1),
  ),
  patienceMs: fc.oneof(often(fc.constant(3_000), 3), often(fc.integer({ min: 1, max: 300 }), 1)),
  times: fc.oneof(
    often(fc.constant(1), 12),
    often(fc.integer({ min: 2, max: 60 }), 2),
    often(fc.integer({ min: 300, max: 1_200 }), 1),
  ),
});

const lie: fc.Arbitrary<LiePlan> = fc.record({
  wire: fc.nat(3),
  method: fc.constantFrom(...METHODS, 'produce' as const, 'produce' as const),
  about: fc.constantFrom('request' as const, 'response' as const, 'both' as const),
  how: fc.oneof(
    often(fc.constant('edit' as const), 8),
    often(
      fc.constantFrom(
        'silence' as const,
        'refuse' as const,
        'repeat' as const,
        'old answer' as const,
        'old request' as const,
      ),
      3,
    ),
  ),
  edits: fc.array(edit, { minLength: 1, maxLength: 2 }),
  every: fc.integer({ min: 1, max: 4 }),
});

/** What many applications and one peer that means harm do at the same time. */
export const conversation: fc.Arbitrary<ConversationPlan> = fc.record({
  streams: fc.array(stream, { minLength: 1, maxLength: 4 }),
  clients: fc
    .tuple(fc.array(pair, { maxLength: 4, size: 'max' }), fc.array(client, { maxLength: 4, size: 'max' }))
    .map(([pairs, others]) => [...pairs.flat(), ...others]),
  calls: fc.array(call, { maxLength: 16, size: 'max' }),
  lies: fc.array(lie, { maxLength: 4 }),
});
