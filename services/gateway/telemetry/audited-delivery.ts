import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Close, Delivered, GetKey, KeyDelivery, OpenConnect, Opened } from '../delivery/key-delivery.ts';
import type { StreamEvents } from '../streams/stream-events.ts';
import type { AuditLog } from './audit-log.ts';

export interface AuditedDeliveryOptions {
  readonly audit: Pick<AuditLog, 'record'>;
  /** What becomes of a key whose line cannot be written. */
  readonly whenUnwritable: 'refuse' | 'deliver';
  readonly events: Pick<StreamEvents, 'refused'>;
}

/** KeyDelivery that gives no key away before its line of the audit log is written. */
export class AuditedDelivery implements KeyDelivery {
  readonly #inner: KeyDelivery;
  readonly #o: AuditedDeliveryOptions;

  constructor(inner: KeyDelivery, options: AuditedDeliveryOptions) {
    this.#inner = inner;
    this.#o = options;
  }

  open(request: OpenConnect): Promise<Opened> {
    return this.#inner.open(request);
  }

  getKey(request: GetKey): Delivered | Promise<Delivered> {
    const delivered = this.#inner.getKey(request);
    return delivered instanceof Promise
      ? delivered.then((key) => this.#recorded(request, key))
      : this.#recorded(request, delivered);
  }

  close(request: Close): void {
    this.#inner.close(request);
  }

  /** @throws KeyweaveError INTERNAL where the line cannot be written; the key is wiped then, and its index is gone. */
  #recorded({ ksid, owner }: GetKey, delivered: Delivered): Delivered {
    const { audit, whenUnwritable, events } = this.#o;
    const isWritten = audit.record(ksid.toLowerCase(), delivered.index, owner, delivered.key.length);
    if (isWritten || whenUnwritable === 'deliver') return delivered;
    delivered.key.wipe();
    const error = new KeyweaveError(
      'INTERNAL',
      'the audit log cannot be written, and no key leaves without a line',
    );
    events.refused({ call: 'getKey', owner, error });
    throw error;
  }
}
