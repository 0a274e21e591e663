import { ANONYMOUS, type ClientConfig } from '#common/config/access/access-section.ts';
import { parseApplicationUri, quote } from '#common/etsi/application-uri.ts';
import type { OpenConnect } from '../key-delivery.ts';
import { ownEnd } from '../own-end.ts';
import { isNamed } from './application-pattern.ts';

/** What the list says of a client. */
export interface ListedClient {
  readonly entry: ClientConfig;
  /** Where it stands in the configuration, for people. */
  readonly path: string;
}

/** What an OPEN_CONNECT says of who opens what. */
export type Asked = Pick<OpenConnect, 'source' | 'destination' | 'peer' | 'owner'>;

/** The clients of `access.clients`: who may open streams as which application, and to which nodes. */
export class ClientList {
  readonly #nodeUuid: string;
  readonly #anonymous: ListedClient | undefined;
  readonly #byIdentity = new Map<string, ListedClient>();
  /** By what the identities begin with; the longest first. */
  readonly #families: [start: string, client: ListedClient][] = [];

  /** @param nodeUuid of this node. */
  constructor(clients: readonly ClientConfig[], nodeUuid: string) {
    this.#nodeUuid = nodeUuid;
    let anonymous: ListedClient | undefined;
    for (const [i, entry] of clients.entries()) {
      const client = { entry, path: `access.clients.${i}` };
      const { identity } = entry;
      // A certificate may say that word, too, and then means no more than any other of its own.
      if (identity === ANONYMOUS) anonymous = client;
      else if (identity.endsWith('*')) this.#families.push([identity.slice(0, -1), client]);
      else this.#byIdentity.set(identity, client);
    }
    this.#anonymous = anonymous;
    this.#families.sort(([one], [other]) => other.length - one.length);
  }

  /** By what the client's certificate names it by: its own entry, else that of the nearest family. */
  find(identity: string | undefined): ListedClient | undefined {
    if (identity === undefined) return this.#anonymous;
    const own = this.#byIdentity.get(identity);
    return own ?? this.#families.find(([start]) => identity.startsWith(start))?.[1];
  }

  /**
   * What of the configuration keeps a client from opening a stream, in words
   * for who runs the node; undefined where nothing does.
   *
   * @throws KeyweaveError NO_ROUTE, UNSUPPORTED for URIs that name no stream of this node.
   */
  refusal(asked: Asked): string | undefined {
    const { identity } = asked.owner;
    const client = this.find(identity);
    if (!client) {
      const who = identity === undefined ? ANONYMOUS : identity;
      return `access.clients has no entry for ${quote(who)}`;
    }
    const { entry, path } = client;
    const { application, farNode } = this.#endsOf(asked);
    if (!entry.applications.some((pattern) => isNamed(pattern, application)))
      return `${path}.applications does not name ${quote(application)}`;
    if (entry.peers && !entry.peers.includes('*') && !entry.peers.includes(farNode))
      return `${path}.peers does not name node ${farNode}`;
    return undefined;
  }

  /** Where the other node is named beside the URIs, they tell nothing to it, and the client is what its source says. */
  #endsOf({ source, destination, peer }: Asked): { application: string; farNode: string } {
    if (peer !== undefined) return { application: source, farNode: peer };
    const sourceNode = parseApplicationUri('source', source).node;
    const destinationNode = parseApplicationUri('destination', destination).node;
    return ownEnd({ sourceNode, destinationNode }, this.#nodeUuid) === 'source'
      ? { application: source, farNode: destinationNode }
      : { application: destination, farNode: sourceNode };
  }
}
