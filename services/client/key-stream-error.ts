import { ETSI004_STATUS } from '#common/errors/status-table.ts';

/** The call of ETSI GS QKD 004 V2.1.1, 6.1, that failed. */
export type Call = 'OPEN_CONNECT' | 'GET_KEY' | 'CLOSE';

/** What the node answered with, by the names of ETSI GS QKD 004 V2.1.1, Table 2. */
export type RefusalCode = Exclude<keyof typeof ETSI004_STATUS, 'SUCCESS'> | 'UNKNOWN_STATUS';

/** What came to pass without an answer of the node. */
export type TroubleCode =
  /** No connection, within the limit or at all. */
  | 'UNREACHABLE'
  /** TLS was refused, by this end or by the node. */
  | 'TLS_FAILED'
  /** The connection broke off before the answer had come. */
  | 'CONNECTION_LOST'
  /** The connection stands, and no answer came within the limit. */
  | 'NO_ANSWER'
  /** What came is no message of the protocol. */
  | 'WRONG_PROTOCOL'
  /** A message that says what no node may say, such as a key of another size. */
  | 'BAD_ANSWER'
  /** What the application asks for, or its options, cannot be. */
  | 'BAD_OPTIONS'
  /** The stream or its client has been closed by this application. */
  | 'CLOSED';

export type KeyStreamErrorCode = RefusalCode | TroubleCode;

const NAMES = new Map<number, RefusalCode>(
  Object.entries(ETSI004_STATUS).map(([name, status]) => [status, name as RefusalCode]),
);

/** The standard's words, for dialects that send a status alone, and what an application does about it. */
const REFUSALS: Readonly<
  Record<RefusalCode, { readonly words: string; readonly remedy: string; readonly retryable: boolean }>
> = {
  PEER_NOT_CONNECTED: {
    words: 'the other node, or a service of this one, cannot be reached, or the request cannot be read',
    remedy: 'try again later; where it stays, see whether both nodes run and know each other',
    retryable: true,
  },
  INSUFFICIENT_KEY: {
    words: 'there is not enough key, or the index has gone',
    remedy:
      'call next() again later; where an index was asked for, it cannot be had at this end: use another',
    retryable: true,
  },
  PEER_APPLICATION_NOT_CONNECTED: {
    words: 'the stream is not known here, or the other application has not opened it or has closed it',
    remedy: 'open a stream again at both ends; the keys that this one still had are gone',
    retryable: false,
  },
  NO_QKD_CONNECTION: {
    words: 'no source is usable, or the application, a URI or an algorithm is not allowed here',
    remedy: 'see that both URIs name trusted nodes, and that the key manager of each answers',
    retryable: false,
  },
  KSID_IN_USE: {
    words: 'the key stream id is in use',
    remedy: 'close that stream first, resume it, or open one without a ksid',
    retryable: false,
  },
  TIMEOUT: {
    words: 'no key came, or the other application did not, within the timeout of the stream',
    remedy: 'try again; a longer qos.timeoutMs waits longer',
    retryable: true,
  },
  QOS_NOT_MET: {
    words: 'the quality of service cannot be met',
    remedy: 'ask for less, or for algorithms that both nodes have',
    retryable: false,
  },
  METADATA_TOO_SMALL: {
    words: 'there is no room for the metadata of the key',
    remedy: 'open the stream with the metadataMimetype "", which asks for none',
    retryable: false,
  },
  UNKNOWN_STATUS: {
    words: 'the standard does not know that status',
    remedy: 'see the log of the node',
    retryable: false,
  },
};

const TROUBLES: Readonly<Record<TroubleCode, { readonly remedy: string; readonly retryable: boolean }>> = {
  UNREACHABLE: { remedy: 'see that the node runs, and that host and port are its listener', retryable: true },
  TLS_FAILED: {
    remedy:
      'see that ca has signed the certificate of the node, which carries serverName or host, and that the node trusts cert',
    retryable: false,
  },
  CONNECTION_LOST: { remedy: 'try again; what the node has done is not known', retryable: true },
  NO_ANSWER: { remedy: 'try again later; see whether the node is overloaded', retryable: true },
  WRONG_PROTOCOL: {
    remedy: 'see that host and port are a listener of this transport, and tls is what the listener has',
    retryable: false,
  },
  BAD_ANSWER: { remedy: 'see the log of the node', retryable: false },
  BAD_OPTIONS: { remedy: 'change what was asked for', retryable: false },
  CLOSED: { remedy: 'open another stream', retryable: false },
};

/** Longest text of a node's that goes into an error. */
const MAX_TEXT = 1_024;

interface Facts {
  readonly call: Call;
  readonly detail: string;
  readonly status?: number;
  readonly reason?: string | undefined;
  readonly remedy: string;
  readonly retryable: boolean;
  readonly mayHaveActed: boolean;
  readonly cause?: unknown;
}

/**
 * Why a call failed. Never holds key material, nor bytes of an answer that
 * could not be read.
 */
export class KeyStreamError extends Error {
  /** What a program decides by. */
  readonly code: KeyStreamErrorCode;
  readonly call: Call;
  /** Status of ETSI GS QKD 004 V2.1.1, Table 2, that the node answered with; undefined where it did not. */
  readonly status: number | undefined;
  /** What is wrong, in the words of the node where it has any. */
  readonly detail: string;
  /** Why in one word, such as NO_ROOM, where the node tells: over gRPC. */
  readonly reason: string | undefined;
  /** What to do. */
  readonly remedy: string;
  /** Whether the same call may succeed later without anybody changing anything. */
  readonly retryable: boolean;
  /** Whether the node may have done what was asked, so that a key may have been taken that did not arrive. */
  readonly mayHaveActed: boolean;

  constructor(code: KeyStreamErrorCode, message: string, facts: Facts) {
    super(message, facts.cause === undefined ? {} : { cause: facts.cause });
    this.name = 'KeyStreamError';
    this.code = code;
    this.call = facts.call;
    this.status = facts.status;
    this.detail = facts.detail;
    this.reason = facts.reason;
    this.remedy = facts.remedy;
    this.retryable = facts.retryable;
    this.mayHaveActed = facts.mayHaveActed;
  }
}

/** The node's answer is a status that is no success; `said` is its own text, if it has any. */
export function refused(
  call: Call,
  status: number,
  said: string,
  more: { readonly reason?: string | undefined; readonly retryable?: boolean } = {},
): KeyStreamError {
  const code = (status === 0 ? undefined : NAMES.get(status)) ?? 'UNKNOWN_STATUS';
  const { words, remedy, retryable } = REFUSALS[code];
  const detail = plain(said) || words;
  return new KeyStreamError(code, `${call} was answered with status ${status}: ${detail}`, {
    ...{ call, status, detail, remedy, retryable, mayHaveActed: false, ...more },
  });
}

/** A call that got no answer that can be used. */
export function failed(
  code: TroubleCode,
  call: Call,
  message: string,
  more: { readonly cause?: unknown; readonly mayHaveActed?: boolean } = {},
): KeyStreamError {
  return new KeyStreamError(code, message, {
    ...{ call, detail: message, mayHaveActed: false, ...TROUBLES[code], ...more },
  });
}

/** Another's text for an error: short, on one line, and nothing that a terminal would obey. */
export function plain(text: string): string {
  return text
    .slice(0, MAX_TEXT)
    .replace(/\p{Cc}+/gu, ' ')
    .trim();
}
