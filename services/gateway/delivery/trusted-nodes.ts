/** The nodes with which this one makes keys; which they are may change while it runs. */
export interface TrustedNodes {
  /** @param node UUID in lower case. */
  has(node: string): boolean;
}
