import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { quote } from '#common/etsi/application-uri.ts';
import { UUID_ANY_CASE } from '#common/ids/uuid.ts';

/** `scheme://[user@]host[:port]…` (RFC 3986): the host is all that counts. */
const URI = /^[a-z][a-z0-9+.-]*:\/\/(?:[^@/?#\s]*@)?(\[[^\]\s]*\]|[^:/?#\s]+)/i;

const OWN_SCHEME = /^hybrid:\/\//i;

export interface ForeignUrisOptions {
  readonly nodeUuid: string;
  /** The trusted peers by UUID, as they are now. */
  readonly peers: Readonly<Record<string, unknown>>;
  readonly settings: {
    /** The other node where no URI names one. */
    readonly default_peer?: string | undefined;
    /** Nodes by the hosts of URIs that mean them. */
    readonly peers: Readonly<Record<string, string>>;
  };
}

/**
 * Whom the URIs of applications mean that do not know this node's own form:
 * clients of ETSI 004 name hosts, and often the one that they have dialled.
 */
export class ForeignUris {
  readonly #o: ForeignUrisOptions;

  constructor(options: ForeignUrisOptions) {
    this.#o = options;
  }

  /**
   * The other node: one that a host names, by its UUID or the listener's
   * `peers`, the destination's before the source's, else the listener's
   * default, else the only one there is. Undefined where a URI is of this node's own form.
   *
   * @throws KeyweaveError NO_ROUTE for a URI without scheme or host, and where no node is meant.
   */
  peerOf(source: string, destination: string): string | undefined {
    if (OWN_SCHEME.test(source) || OWN_SCHEME.test(destination)) return undefined;
    const hosts = [hostOf('source', source), hostOf('destination', destination)].reverse();
    const { nodeUuid, settings } = this.#o;
    for (const host of hosts) {
      const node = UUID_ANY_CASE.test(host) ? host.toLowerCase() : settings.peers[host];
      if (node !== undefined && node !== nodeUuid) return node;
    }
    const peer = settings.default_peer ?? this.#onlyPeer();
    if (peer !== undefined) return peer;
    throw new KeyweaveError(
      'NO_ROUTE',
      `neither ${quote(source)} nor ${quote(destination)} names a node, and the listener has no default_peer`,
    );
  }

  #onlyPeer(): string | undefined {
    const [first, second] = Object.keys(this.#o.peers).filter((node) => node !== this.#o.nodeUuid);
    return second === undefined ? first : undefined;
  }
}

function hostOf(what: string, uri: string): string {
  const host = URI.exec(uri)?.[1];
  if (host !== undefined) return host.toLowerCase();
  throw new KeyweaveError('NO_ROUTE', `the ${what} has no scheme and host: ${quote(uri)}`);
}
