/** A change of one field of a message, whatever message it is: plain data, so that it can be printed and shrunk. */
export interface Edit {
  /** Which of the message's fields, counted over all of its levels and modulo their number. */
  readonly at: number;
  readonly how: (typeof WAYS)[number];
  /** Where, or by how much. */
  readonly by: number;
}

export const WAYS = ['nothing', 'more', 'half', 'double', 'flip', 'largest', 'many', 'other'] as const;

/** Largest text, list of bytes or list that an edit makes, so that a message stays one that can be sent. */
const MAX_BYTES = 1_000_000;
const MAX_ENTRIES = 2_000;

type Holder = Record<string, unknown> | unknown[];
type Place = readonly [holder: Holder, key: string | number];

/** A deep copy of `message` with the edits made one after the other; bytes stay Buffers. */
export function edited<T extends object>(message: T, edits: readonly Edit[]): T {
  const copy = copied(message) as T;
  for (const edit of edits) {
    const places = placesIn(copy as Holder);
    const place = places[edit.at % Math.max(1, places.length)];
    if (place) change(place, edit);
  }
  return copy;
}

function copied(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value);
  if (Array.isArray(value)) return value.map(copied);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, copied(inner)]));
}

function placesIn(holder: Holder): Place[] {
  const keys = Array.isArray(holder) ? [...holder.keys()] : Object.keys(holder);
  return keys.flatMap((key): Place[] => {
    const value = (holder as Record<string | number, unknown>)[key];
    const isHolder = typeof value === 'object' && value !== null && !(value instanceof Uint8Array);
    return [[holder, key], ...(isHolder ? placesIn(value as Holder) : [])];
  });
}

function change([holder, key]: Place, edit: Edit): void {
  const slot = holder as Record<string | number, unknown>;
  const value = slot[key];
  if (typeof value === 'number') slot[key] = changedNumber(value, edit, 0xffffffff);
  else if (typeof value === 'bigint') {
    slot[key] = edit.how === 'largest' ? 2n ** 64n - 1n : BigInt(changedNumber(Number(value), edit, 2 ** 52));
  } else if (typeof value === 'boolean') slot[key] = !value;
  else if (typeof value === 'string') slot[key] = changedText(value, edit);
  else if (value instanceof Uint8Array) slot[key] = changedBytes(value as Buffer, edit);
  else if (Array.isArray(value)) slot[key] = changedList(value, edit);
  else if (Array.isArray(holder)) holder.splice(Number(key), 1);
  else slot[key] = undefined;
}

function changedNumber(value: number, { how, by }: Edit, largest: number): number {
  const changed = {
    nothing: 0,
    more: value + 1,
    half: Math.floor(value / 2),
    double: value * 2,
    flip: value % 2 === 0 ? value + 1 : value - 1,
    largest,
    many: value + by,
    other: by,
  }[how];
  return Math.min(largest, Math.max(0, changed));
}

function changedText(value: string, { how, by }: Edit): string {
  const at = by % (value.length + 1);
  switch (how) {
    case 'nothing':
      return '';
    case 'more':
      return `${value.slice(0, at)}\0${value.slice(at)}`;
    case 'half':
      return value.slice(0, value.length / 2);
    case 'double':
      return value + value;
    case 'flip':
      return `${value.slice(0, at)}${String.fromCodePoint(33 + (by % 90))}${value.slice(at + 1)}`;
    case 'largest':
      return (value || 'x').repeat(Math.ceil(65_536 / (value.length || 1))).slice(0, 65_536);
    case 'many':
      return (value || 'x').repeat(1 + (by % 40)).slice(0, MAX_BYTES);
    case 'other':
      return `\ufffd${by}`;
  }
}

function changedBytes(value: Buffer, { how, by }: Edit): Buffer {
  switch (how) {
    case 'nothing':
      return Buffer.alloc(0);
    case 'more':
      return Buffer.concat([value, Buffer.from([by % 256])]);
    case 'half':
      return value.subarray(0, value.length / 2);
    case 'double':
      return Buffer.concat([value, value]).subarray(0, MAX_BYTES);
    case 'flip':
      if (value.length > 0) value[by % value.length] = (value[by % value.length] as number) ^ (1 << (by % 8));
      return value;
    case 'largest':
      return Buffer.alloc(MAX_BYTES, by);
    case 'many':
      return Buffer.alloc(Math.min(MAX_BYTES, value.length * (1 + (by % 40))), value);
    case 'other':
      return Buffer.alloc(value.length, by);
  }
}

function changedList(value: unknown[], { how, by }: Edit): unknown[] {
  const repeated = (count: number) =>
    value.length === 0
      ? value
      : Array.from({ length: Math.min(MAX_ENTRIES, count) }, (_, i) => copied(value[i % value.length]));
  switch (how) {
    case 'nothing':
      return [];
    case 'more':
      return repeated(value.length + 1);
    case 'half':
      return value.slice(0, value.length / 2);
    case 'double':
      return repeated(value.length * 2);
    case 'flip':
      return value.toReversed();
    case 'largest':
      return repeated(MAX_ENTRIES);
    case 'many':
      return repeated(value.length * (1 + (by % 40)));
    case 'other':
      return value.slice(by % (value.length + 1));
  }
}
