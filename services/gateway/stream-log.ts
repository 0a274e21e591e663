import { shortKsid } from '#common/ids/short-ksid.ts';
import { LimitedLog } from '#common/log/limited-log.ts';
import type { Log, LogFields } from '#common/log/log.ts';
import { clientNetwork } from '#common/net/client-network.ts';

/** Of an error's detail in a line; details that quote a client are shorter. */
const MAX_DETAIL_CHARS = 500;

/** Who called: where from, and what the certificate says where there is one. */
interface Client {
  readonly address: string;
  readonly identity: string | undefined;
}

/** What the log says of a stream. */
export interface LoggedStream {
  /** KSID in text form. */
  readonly id: string;
  readonly role: string;
  readonly terms: {
    readonly sourceNode: string;
    readonly destinationNode: string;
    readonly method: { readonly name: string };
    readonly slots: readonly { readonly algorithm: string }[];
  };
  readonly route: { readonly hops: number };
  readonly owner: Client | undefined;
}

interface LoggedError {
  readonly reason: string;
  readonly detail: string;
}

export interface LoggedRefusal {
  readonly call: string;
  readonly owner: Client;
  readonly error: LoggedError;
}

/**
 * Turns what happens to streams into lines of the log: one at info for a
 * stream that is opened, joined, expired or closed; refusals, limited for each
 * client; dropped batches and stand-ins, limited for each stream. Of a KSID
 * 8 digits. Deliveries are not logged.
 */
export class StreamLog {
  readonly #log: Pick<Log, 'info'>;
  readonly #refusals: LimitedLog;
  readonly #troubles: LimitedLog;

  /** @param now milliseconds of a monotonic clock. */
  constructor(log: Pick<Log, 'info' | 'warning'>, now?: () => number) {
    const clock = now && { now };
    this.#log = log;
    this.#refusals = new LimitedLog({ log, subject: 'refusals of requests', ...clock });
    this.#troubles = new LimitedLog({ log, subject: 'lines of a stream in trouble', ...clock });
  }

  opened(stream: LoggedStream): void {
    this.#log.info('a stream was opened', fieldsOf(stream));
  }

  joined(stream: LoggedStream): void {
    this.#log.info("a stream was joined by the other node's application", fieldsOf(stream));
  }

  expired(stream: LoggedStream): void {
    this.#log.info('a stream has expired', { ...fieldsOf(stream), why: 'its TTL has run out' });
  }

  closed(stream: LoggedStream, why: string): void {
    this.#log.info('a stream was closed', { ...fieldsOf(stream), why });
  }

  refused({ call, owner, error }: LoggedRefusal): void {
    this.#refusals.line(clientNetwork(owner.address), 'info', 'a request was refused', {
      ...clientFields(owner),
      call,
      ...errorFields(error),
    });
  }

  dropped(stream: LoggedStream, first: number, count: number, error: LoggedError): void {
    this.#trouble(stream, 'a batch was dropped', { first, count, ...errorFields(error) });
  }

  /** @param how what did it: a shared_seed, or the kind of sources that was left out. */
  degraded(stream: LoggedStream, first: number, count: number, how: string | false): void {
    if (how === 'qkd' || how === 'pqc')
      this.#trouble(stream, 'sources that fail are left out, as the policies let be', {
        ...{ first, count, leftOut: how },
      });
    else this.#trouble(stream, 'a shared_seed stands in for a source', { first, count });
  }

  /** Says what was left out and is not said yet. */
  close(): void {
    this.#refusals.close();
    this.#troubles.close();
  }

  #trouble({ id }: LoggedStream, message: string, fields: LogFields): void {
    const ksid = shortKsid(id);
    this.#troubles.line(ksid, 'warning', message, { ksid, ...fields });
  }
}

function fieldsOf({ id, role, terms, route, owner }: LoggedStream): LogFields {
  return {
    ksid: shortKsid(id),
    ...(owner && clientFields(owner)),
    role,
    sourceNode: terms.sourceNode,
    destinationNode: terms.destinationNode,
    ...(route.hops > 0 && { hops: route.hops }),
    method: terms.method.name,
    sources: terms.slots.map(({ algorithm }) => algorithm).join(', '),
  };
}

function clientFields({ address, identity }: Client): LogFields {
  return { client: address, ...(identity !== undefined && { identity }) };
}

function errorFields({ reason, detail }: LoggedError): LogFields {
  return { reason, detail: detail.slice(0, MAX_DETAIL_CHARS) };
}
