import { type ChannelOptions, experimental } from '@grpc/grpc-js';

type Resolver = experimental.Resolver;
type Listener = experimental.ResolverListener;
type Target = experimental.GrpcUri;

/** How often a name is looked up again. */
const LOOKUP_MS = 5_000;

/** Scheme of targets whose name stands for any number of replicas: `replicas:///name:port`. */
export const REPLICAS_SCHEME = 'replicas';

/**
 * Resolves a name as the transport's own `dns` does, and looks again every few
 * seconds: that one only does so once a connection is lost, so that replicas
 * that join later would stay without work. What has not changed is not
 * reported, since every report makes the balancer start over.
 */
export class ReplicasResolver implements Resolver {
  readonly #inner: Resolver;
  #known: string | undefined;
  #asked = false;
  #timer: NodeJS.Timeout | undefined;

  /** @param innerScheme resolver that does the looking up. */
  constructor(target: Target, listener: Listener, options: ChannelOptions, innerScheme = 'dns') {
    this.#inner = experimental.createResolver(
      { ...target, scheme: innerScheme },
      (endpoints, ...rest) => this.#report(listener, endpoints, rest),
      options,
    );
  }

  static getDefaultAuthority(target: Target): string {
    return target.path;
  }

  updateResolution(): void {
    this.#asked = true;
    this.#inner.updateResolution();
    if (this.#timer) return;
    this.#timer = setInterval(() => this.#inner.updateResolution(), LOOKUP_MS);
    this.#timer.unref();
  }

  destroy(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#known = undefined;
    this.#inner.destroy();
  }

  #report(
    listener: Listener,
    endpoints: Parameters<Listener>[0],
    rest: Parameters<Listener> extends [unknown, ...infer Rest] ? Rest : never,
  ): boolean {
    const found = endpoints.ok ? endpoints.value.map(experimental.endpointToString).sort().join() : undefined;
    if (!this.#asked && found !== undefined && found === this.#known) return true;
    this.#asked = false;
    this.#known = found;
    return listener(endpoints, ...rest);
  }
}

experimental.registerResolver(REPLICAS_SCHEME, ReplicasResolver);
