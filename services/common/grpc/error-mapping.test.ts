import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { status as grpc } from '@grpc/grpc-js';
import { type CallContext, type CallOptions, ClientError, Metadata, ServerError } from 'nice-grpc';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { errorMappingClientMiddleware, errorMappingServerMiddleware } from '#common/grpc/error-mapping.ts';
import type { Log } from '#common/log/log.ts';

const PATH = '/keyweave.v1.Hybridizer/Derive';
const REASON = 'keyweave-reason';

async function thrownBy(running: AsyncIterator<unknown>): Promise<unknown> {
  try {
    await running.next();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

describe('errors on their way out of a server', () => {
  /** What the caller gets, and what the log says, when a handler throws. */
  async function mapped(thrown: unknown) {
    const logged: string[] = [];
    const note = (level: string) => (message: string) => logged.push(`${level}: ${message}`);
    const log = { debug: note('debug'), error: note('error') } as unknown as Log;
    const context = { trailer: Metadata() } as CallContext;
    const call = {
      method: { path: PATH },
      // biome-ignore lint/correctness/useYield: a handler that throws at once
      async *next(): AsyncGenerator<never> {
        throw thrown;
      },
    };
    const error = await thrownBy(errorMappingServerMiddleware(log)(call as never, context));
    return { error, reason: context.trailer.get(REASON), logged };
  }

  it('carry their reason in the trailer and their status in ours', async () => {
    const { error, reason, logged } = await mapped(new KeyweaveError('QKD_UNAVAILABLE', 'no key manager'));
    assert.ok(error instanceof ServerError);
    assert.deepEqual(
      [error.code, error.details, reason],
      [grpc.UNAVAILABLE, 'no key manager', 'QKD_UNAVAILABLE'],
    );
    assert.deepEqual(logged, ['debug: a call was refused']);
  });

  it('say nothing of what was not expected, which the log has', async () => {
    const { error, reason, logged } = await mapped(new Error('a path, a host, a key'));
    assert.ok(error instanceof ServerError);
    assert.deepEqual([error.code, reason], [grpc.INTERNAL, 'INTERNAL']);
    assert.doesNotMatch(error.details, /path|host/);
    assert.deepEqual(logged, ['error: a call failed unexpectedly']);
  });

  it('are left alone where the caller has gone', async () => {
    const gone = Object.assign(new Error('gone'), { name: 'AbortError' });
    const { error, reason, logged } = await mapped(gone);
    assert.deepEqual([error, reason, logged], [gone, undefined, []]);
    assert.ok((await mapped('AbortError')).error instanceof ServerError);
  });
});

describe('errors as a client sees them', () => {
  async function seen(thrown: unknown, reason?: string) {
    const trailers: (string | undefined)[] = [];
    const call = {
      request: 'request',
      // biome-ignore lint/correctness/useYield: a call that fails at once
      async *next(_request: unknown, options: CallOptions): AsyncGenerator<never> {
        options.onTrailer?.(Metadata(reason === undefined ? {} : { [REASON]: reason }));
        throw thrown;
      },
    };
    const onTrailer = (trailer: Metadata) => void trailers.push(trailer.get(REASON));
    const middleware = errorMappingClientMiddleware('PEER_UNREACHABLE', 'hybridizer of node b');
    const error = await thrownBy(middleware(call as never, { onTrailer }));
    assert.deepEqual(trailers, 'code' in (error as object) ? trailers : [reason]);
    return error;
  }
  const failed = (code: number) => new ClientError(PATH, code, 'words of the far end');
  const said = (error: unknown) => {
    assert.ok(error instanceof KeyweaveError);
    return [error.reason, error.detail];
  };

  it('have the reason of the far end, whatever their status', async () => {
    const error = await seen(failed(grpc.ABORTED), 'QKD_OUT_OF_STEP');
    assert.deepEqual(said(error), ['QKD_OUT_OF_STEP', 'words of the far end']);
  });

  it('that come from the transport name the target and what is wrong with it', async () => {
    for (const [code, reason, words] of [
      [grpc.DEADLINE_EXCEEDED, 'TIMEOUT', /^hybridizer of node b did not answer in time$/],
      [grpc.PERMISSION_DENIED, 'NOT_ALLOWED', /^hybridizer of node b refused this caller$/],
      [grpc.UNAUTHENTICATED, 'NOT_ALLOWED', /refused/],
      [grpc.RESOURCE_EXHAUSTED, 'LIMIT_EXCEEDED', /message to or from hybridizer of node b/],
      [grpc.UNAVAILABLE, 'PEER_UNREACHABLE', /^hybridizer of node b cannot be reached$/],
      [grpc.UNIMPLEMENTED, 'PEER_UNREACHABLE', /reached/],
    ] as const) {
      const cause = failed(code);
      for (const sent of [undefined, 'A_REASON_OF_TOMORROW']) {
        const error = await seen(cause, sent);
        const [found, detail = ''] = said(error);
        assert.equal(found, reason, `status ${code}`);
        assert.match(detail, words);
        assert.equal((error as Error).cause, cause);
      }
    }
  });

  it('of our own making pass unchanged', async () => {
    const abort = Object.assign(new Error('gone'), { name: 'AbortError' });
    assert.equal(await seen(abort, 'TIMEOUT'), abort);
  });
});
