import { asBuffer } from '#common/crypto/bytes.ts';
import { errorOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Outcome } from '#common/errors/outcome.ts';
import type { ServiceClient } from '#common/grpc/client.ts';
import type {
  CloseQkdRequest,
  OpenQkdRequest,
  QkdFetch,
  QkdSourceDefinition,
} from '#gen/keyweave/v1/qkd_source.ts';

/** What fetches brought: for each its keys, end to end, which the caller wipes, or why there are none. */
export interface FetchedKeys {
  readonly results: readonly Outcome<Buffer>[];
  /** Bytes of the largest key that the key manager is known to give; 0 = no news. */
  readonly blockBytes: number;
  /** For each fetch the names of its keys, where the key manager names them; absent where it names none. */
  readonly names?: readonly (readonly Uint8Array[])[];
}

/** QKD keys of the own node's qkd-source. Every call has a limit of time; errors are KeyweaveErrors. */
export interface QkdClient {
  /** Opens a stream at the key manager; the manager's id of it. @param signal gives up. */
  open(request: OpenQkdRequest, signal: AbortSignal): Promise<string>;
  /** Reads the next keys of several streams in one call. */
  fetch(fetches: readonly QkdFetch[]): Promise<FetchedKeys>;
  close(request: CloseQkdRequest): Promise<void>;
}

/** What qkd-source may take longer than its key manager, milliseconds. */
const MARGIN_MS = 1_000;

/** @param timeoutMs limit of one call to the key manager (`qkd.timeout`). */
export function createQkdClient(qkdSource: ServiceClient<QkdSourceDefinition>, timeoutMs: number): QkdClient {
  return {
    open: async (request, signal) => {
      const options = { timeoutMs: timeoutMs + MARGIN_MS, signal };
      return (await qkdSource.openQkd(request, options)).qkdKeyStreamId;
    },
    fetch: async (fetches) => {
      if (fetches.length === 0) return { results: [], blockBytes: 0 };
      const { results, blockBytes } = await qkdSource.fetchKeys(
        { fetches: [...fetches] },
        { timeoutMs: timeoutMs + MARGIN_MS },
      );
      if (results.length !== fetches.length) {
        for (const { keys } of results) keys.fill(0);
        throw new KeyweaveError('INTERNAL', 'qkd-source answered for a wrong number of streams');
      }
      return {
        results: results.map(({ keys, failure }) => (failure ? errorOf(failure) : asBuffer(keys))),
        blockBytes,
        names: results.map(({ keyNames }) => keyNames),
      };
    },
    close: async (request) => {
      await qkdSource.closeQkd(request, { timeoutMs });
    },
  };
}
