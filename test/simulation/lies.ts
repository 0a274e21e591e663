import type { Prng } from './prng.ts';
import type { Lie, Method } from './simulated-network.ts';

type Message = Record<string, unknown>;
type Batch = {
  count: number;
  firstIndex?: number;
  failure?: unknown;
  responderTags?: Uint8Array;
  [name: string]: unknown;
};

/** `left_out` of an offer: each kind of the lists of sources that there are, a part of one, all, and what no list has. */
const MASKS = [0b1, 0b10, 0b101, 0b11, 0b111, 0b1000] as const;

/** Lies of a node whose certificate is in order. Each gets the message that it would have sent, and gives another. */
const LIES = {
  'a bit of a tag': (method, message, way) =>
    method === 'produce' && way === 'response'
      ? each(message, 'answers', (one) => ({ ...one, responderTags: flipped(one.responderTags) }))
      : method === 'produce' || method === 'confirm'
        ? each(message, 'confirmations', (one) => ({ ...one, initiatorTags: flipped(one.initiatorTags) }))
        : message,
  'one chunk more': (method, message, way) => counted(method, message, way, 1),
  'one chunk less': (method, message, way) => counted(method, message, way, -1),
  'another index': (method, message, way) =>
    method === 'produce' && way === 'request'
      ? each(message, 'offers', (one) => ({ ...one, firstIndex: (one.firstIndex ?? 0) + 1 }))
      : message,
  'an index that was used': (method, message, way) =>
    method === 'produce' && way === 'request'
      ? each(message, 'offers', (one) => ({
          ...one,
          firstIndex: Math.max(0, (one.firstIndex ?? 0) - one.count),
        }))
      : message,
  'everything released': (method, message, way) =>
    (method === 'produce' || method === 'confirm') && way === 'response'
      ? each(message, 'decisions', (one) => ({ ...one, released: true, failure: undefined }))
      : message,
  'nothing released': (method, message, way) =>
    (method === 'produce' || method === 'confirm') && way === 'response'
      ? each(message, 'decisions', (one) => ({ ...one, released: false }))
      : message,
  'another QKD position': (method, message, way) =>
    method === 'produce' && way === 'request'
      ? each(message, 'offers', (one) => {
          const qkd = one.qkd as { position: bigint } | undefined;
          return { ...one, qkd: qkd && { ...qkd, position: qkd.position + 1n } };
        })
      : message,
  'a stand-in': (method, message, way) =>
    method === 'produce' && way === 'request'
      ? each(message, 'offers', (one) => ({ ...one, degradedSlot: 1 }))
      : message,
  'sources left out': (method, message, way) =>
    method === 'produce' && way === 'request'
      ? each(message, 'offers', (one) => without(one, MASKS[(one.firstIndex ?? 0) % MASKS.length] as number))
      : message,
  'no source left out': (method, message, way) =>
    method === 'produce' && way === 'request'
      ? each(message, 'offers', (one) => ({ ...one, leftOut: 0 }))
      : message,
  'answers left out': (_method, message, way) =>
    way === 'response' && Array.isArray(message.answers)
      ? { ...message, answers: message.answers.slice(1) }
      : message,
  'no room': (method, message, way) =>
    method === 'produce' && way === 'response'
      ? each(message, 'answers', (one) => ({
          ...{ ...one, count: 0, ciphertexts: [], responderTags: new Uint8Array() },
          failure: { reason: 'NO_ROOM', detail: 'it says' },
        }))
      : message,
} satisfies Record<string, (method: Method, message: Message, way: 'request' | 'response') => Message>;

export type LieName = keyof typeof LIES | 'what was said before';

export const LIE_NAMES: readonly LieName[] = [
  ...(Object.keys(LIES) as (keyof typeof LIES)[]),
  'what was said before',
];

/** The lie, told with that probability. */
export function lieOf(name: LieName, random: Prng, probability: number): Lie {
  const before = new Map<string, Message[]>();
  return (method, message, way) => {
    const said = message as Message;
    if (name !== 'what was said before')
      return random.chance(probability) ? LIES[name](method, said, way) : said;
    const key = `${method} ${way}`;
    const earlier = before.get(key) ?? [];
    before.set(key, [...earlier.slice(-20), said]);
    return earlier.length > 0 && random.chance(probability) ? random.pick(earlier) : said;
  };
}

function each(message: Message, list: string, change: (one: Batch) => object): Message {
  const entries = message[list];
  return Array.isArray(entries) ? { ...message, [list]: (entries as Batch[]).map(change) } : message;
}

/** The offer as of one who has left out the slots of that mask: nothing else of it gives the lie away. */
function without(one: Batch, leftOut: number): object {
  const isIn = ({ slot }: { slot: number }) => ((leftOut >> slot) & 1) === 0;
  const publicKeys = (one.publicKeys ?? []) as { slot: number }[];
  const ofKems = publicKeys.reduce((mask, { slot }) => mask | (1 << slot), 0);
  const hasQkd = (leftOut & ~ofKems) === 0;
  return { ...one, leftOut, publicKeys: publicKeys.filter(isIn), qkd: hasQkd ? one.qkd : undefined };
}

function counted(method: Method, message: Message, way: 'request' | 'response', by: number): Message {
  const list = way === 'request' ? 'offers' : 'answers';
  return method === 'produce'
    ? each(message, list, (one) => ({ ...one, count: Math.max(0, one.count + by) }))
    : message;
}

function flipped(bytes: unknown): Uint8Array {
  const copy = Uint8Array.from(bytes as Uint8Array);
  if (copy.length > 0) copy[0] = (copy[0] as number) ^ 1;
  return copy;
}
