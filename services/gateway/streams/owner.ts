/** The application that has opened a stream at this end, as its front end knows it. */
export interface Owner {
  /**
   * What its certificate names it by; undefined on a listener that
   * authenticates nobody, where the KSID is all that is asked for.
   */
  readonly identity: string | undefined;
  /** Where it called from, for logs. */
  readonly address: string;
  /** For whom a listener takes a key that owns the stream itself, for logs; undefined: for the owner. */
  readonly onBehalfOf?: string;
}
