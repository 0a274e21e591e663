/** The way to the node at the other end of a stream. */
export interface Route {
  /** The node that this one's peer-broker calls, UUID: what it holds here counts against its limits. */
  readonly nextHop: string;
  /** The node of the other application, UUID: who has opened, agreed and confirmed. */
  readonly farNode: string;
  /** Nodes in between, which hold the key for a moment (`hops` of ETSI GS QKD 004 V2.1.1, Table 3). */
  readonly hops: number;
}

/** The way to a trusted peer: there is nobody in between. */
export function directRoute(node: string): Route {
  return { nextHop: node, farNode: node, hops: 0 };
}
