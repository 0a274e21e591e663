import type {
  CallContext,
  CallOptions,
  ClientMiddleware,
  MethodDescriptor,
  ServerMiddleware,
} from 'nice-grpc';

type Next<C, Q, R> = (request: Q, context: C) => Promise<R>;

/**
 * A server's unary method as the middleware sees it, the outermost first: what
 * nice-grpc does for calls of their own, for those that come another way.
 */
export function composeServerUnary<Q, R>(
  method: MethodDescriptor,
  middleware: readonly ServerMiddleware[],
  handler: Next<CallContext, Q, R>,
): Next<CallContext, Q, R> {
  return compose(method, middleware as readonly Middleware[], handler);
}

/** The same of a client's method, the outermost first. */
export function composeClientUnary<Q, R>(
  method: MethodDescriptor,
  middleware: readonly ClientMiddleware[],
  call: Next<CallOptions, Q, R>,
): Next<CallOptions, Q, R> {
  return compose(method, middleware as readonly Middleware[], call);
}

/** What the types of both kinds have in common for a unary call. */
type Middleware = (call: object, context: unknown) => AsyncGenerator<never, unknown>;

function compose<C, Q, R>(
  method: MethodDescriptor,
  middleware: readonly Middleware[],
  inner: Next<C, Q, R>,
): Next<C, Q, R> {
  return middleware.reduceRight<Next<C, Q, R>>(
    (then, each) => async (request, context) => {
      const call = {
        ...{ method, request, requestStream: false, responseStream: false },
        // biome-ignore lint/correctness/useYield: middleware takes a generator, and a unary call yields nothing
        next: async function* (given: Q, with_: C) {
          return await then(given, with_);
        },
      };
      return (await each(call, context).next()).value as R;
    },
    inner,
  );
}
