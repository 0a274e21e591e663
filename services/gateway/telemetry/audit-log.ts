import { streamHash } from '#common/ids/stream-hash.ts';
import type { Log } from '#common/log/log.ts';
import { LogFile } from '#common/log/log-file.ts';
import { systemClock } from '#common/time/clock.ts';
import type { Owner } from '../streams/owner.ts';
import { type Degraded, sourcesOf } from '../streams/policy/lacking.ts';
import type { StreamFacts, StreamListener } from '../streams/stream-events.ts';

/** Nobody but the owner and the group reads who has got which key. */
const MODE = 0o640;

/** What is told of a key beside who has asked for it. */
interface Taken {
  readonly stream: string;
  readonly index: number;
  readonly peer: string;
  readonly role: string;
  readonly method: string;
  readonly sources: readonly string[];
  readonly degraded: boolean;
}

export interface AuditLogOptions {
  /** UUID of this node. */
  readonly nodeUuid: string;
  readonly filename: string;
  readonly log: Pick<Log, 'error'>;
  /** Milliseconds since 1970. */
  readonly wallNow?: () => number;
}

/**
 * A file with a JSON line for every key that an application of this node is
 * given: when, of which stream (a hash) which index, to whom, made of which
 * sources. Never a key, nor a Key_stream_ID.
 */
export class AuditLog implements StreamListener {
  readonly #nodeUuid: string;
  readonly #wallNow: () => number;
  readonly #file: LogFile;
  /** Keys that were taken and are not on their way yet. */
  readonly #taken = new Map<string, Taken>();
  #failures = 0;

  /** @throws KeyweaveError BAD_CONFIG when the file cannot be opened. */
  constructor({ nodeUuid, filename, log, wallNow = systemClock.wallMs }: AuditLogOptions) {
    this.#nodeUuid = nodeUuid;
    this.#wallNow = wallNow;
    this.#file = new LogFile(filename, {
      key: 'telemetry.audit.filename',
      mode: MODE,
      onTrouble: (message, fields) => log.error(`audit: ${message}`, fields),
    });
  }

  /** Lines that could not be written. */
  get failures(): number {
    return this.#failures;
  }

  delivered({ id, role, terms, route }: StreamFacts, index: number, degraded: Degraded): void {
    this.#taken.set(keyOf(id, index), {
      stream: streamHash(id),
      index,
      peer: route.farNode,
      role,
      method: terms.method.name,
      sources: sourcesOf(terms, degraded),
      degraded: degraded !== false,
    });
  }

  /**
   * Writes the line of a key that was taken, before it leaves.
   *
   * @returns whether it is written.
   */
  record(ksid: string, index: number, owner: Owner, bytes: number): boolean {
    const key = keyOf(ksid, index);
    const taken = this.#taken.get(key);
    this.#taken.delete(key);
    const line = JSON.stringify({
      time: new Date(this.#wallNow()).toISOString(),
      event: 'key-delivered',
      node: this.#nodeUuid,
      ...(taken ?? { stream: streamHash(ksid), index }),
      bytes,
      client: owner.address,
      ...identityOf(owner),
    });
    const isWritten = this.#file.write(`${line}\n`);
    if (!isWritten) this.#failures += 1;
    return isWritten;
  }

  /** Goes on in a new file, after the old one was moved away. */
  reopen(): void {
    this.#file.reopen();
  }

  close(): void {
    this.#file.close();
  }
}

/** Whom a listener names itself comes before what it goes by. */
function identityOf({ identity, onBehalfOf = identity }: Owner): { identity?: string } {
  return onBehalfOf === undefined ? {} : { identity: onBehalfOf };
}

function keyOf(ksid: string, index: number): string {
  return `${ksid} ${index}`;
}
