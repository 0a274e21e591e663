/** Lengths as u32, big-endian; there are few, and every chunk needs them. */
const LENGTHS = new Map<number, Buffer>();

/** Lengths that are kept: those of secrets and contexts, never as many as someone cares to send. */
const MAX_LENGTHS = 1_024;

/** Each item behind its length as u32, big-endian, without copying it. */
export function lengthPrefixed<T extends Uint8Array>(items: readonly T[]): (T | Buffer)[] {
  const parts: (T | Buffer)[] = [];
  for (const item of items) parts.push(lengthOf(item), item);
  return parts;
}

function lengthOf({ length }: Uint8Array): Buffer {
  const known = LENGTHS.get(length);
  if (known !== undefined) return known;
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  if (LENGTHS.size < MAX_LENGTHS) LENGTHS.set(length, bytes);
  return bytes;
}
