import { packedItem } from '#common/crypto/bytes.ts';
import type { DeriveBatch, StreamContext } from '#gen/keyweave/v1/hybridizer.ts';

const DIGEST_BYTES = 32;

/**
 * The canonical context of each chunk of a batch: every field behind its
 * length as u32, big-endian, in the order of the design (protocol version,
 * method, KSID and incarnation, index, chunk size, both nodes, both URIs, then per slot the
 * algorithm, revision and digests of public key and ciphertext, then the QKD
 * reference, the stand-in and what was left out). What the batch shares is encoded once.
 */
export class ChunkContext {
  readonly #bytes: Buffer;
  readonly #indexAt: number;
  readonly #positionAt: number;
  readonly #slots: { at: number; digests: Uint8Array }[] = [];
  readonly #request: DeriveBatch;

  constructor(request: DeriveBatch, context: StreamContext) {
    this.#request = request;
    const fields = new FieldWriter();
    fields.u32(context.protocolVersion);
    fields.text(request.method);
    fields.bytes(context.keyStreamId);
    fields.bytes(context.incarnation);
    this.#indexAt = fields.u32(0);
    fields.u32(request.chunkBytes);
    fields.text(context.initiatorNode);
    fields.text(context.responderNode);
    fields.text(context.source);
    fields.text(context.destination);
    fields.u32(request.slots.length);
    for (const { slot, publicKeyDigests, ciphertextDigests } of request.slots) {
      fields.text(slot?.algorithm ?? '');
      fields.text(slot?.revision ?? '');
      for (const digests of [publicKeyDigests, ciphertextDigests]) {
        const at = fields.bytes(Buffer.alloc(digests.length === 0 ? 0 : DIGEST_BYTES));
        if (digests.length > 0) this.#slots.push({ at, digests });
      }
    }
    fields.text(context.qkdKeyStreamId);
    fields.u32(context.qkdEpoch);
    this.#positionAt = fields.bytes(Buffer.alloc(8));
    fields.u32(context.degradedSlot);
    // Only where something is: whoever knows nothing of it leaves nothing out, and writes the same.
    if (context.leftOut) fields.u32(context.leftOut);
    this.#bytes = fields.join();
  }

  /** The context of the `i`-th chunk of the batch; valid until the next call. */
  of(i: number): Buffer {
    const { firstIndex, context } = this.#request;
    this.#bytes.writeUInt32BE(firstIndex + i, this.#indexAt);
    this.#bytes.writeBigUInt64BE((context?.qkdPosition ?? 0n) + BigInt(i), this.#positionAt);
    for (const { at, digests } of this.#slots) {
      this.#bytes.set(packedItem(digests, i, DIGEST_BYTES), at);
    }
    return this.#bytes;
  }
}

/** Collects length-prefixed fields; each method returns where the field's content starts. */
class FieldWriter {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  bytes(content: Uint8Array): number {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(content.length);
    this.#parts.push(length, content);
    this.#length += 4 + content.length;
    return this.#length - content.length;
  }

  text(content: string): number {
    return this.bytes(Buffer.from(content, 'utf8'));
  }

  u32(value: number): number {
    const content = Buffer.alloc(4);
    content.writeUInt32BE(value);
    return this.bytes(content);
  }

  join(): Buffer {
    return Buffer.concat(this.#parts, this.#length);
  }
}
