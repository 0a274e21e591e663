/**
 * One batch for a worker. Which of `first` and `second` is used, and for what,
 * depends on the operation. Both move to the worker with their whole memory,
 * and so have memory of exactly their size; the worker wipes them.
 */
export interface WorkerTask {
  readonly operation: 'generate' | 'encapsulate' | 'decapsulate';
  /** Name of the WASM library's factory function. */
  readonly factory: string;
  readonly count: number;
  readonly publicKeyBytes: number;
  readonly privateKeyBytes: number;
  readonly ciphertextBytes: number;
  readonly sharedSecretBytes: number;
  /** encapsulate: public keys; decapsulate: ciphertexts. */
  readonly first: Uint8Array;
  /** decapsulate: private keys. */
  readonly second: Uint8Array;
}

export interface WorkerAnswer {
  /** generate: public keys; encapsulate: ciphertexts. */
  first: Uint8Array;
  /** generate: private keys; encapsulate and decapsulate: shared secrets. */
  second: Uint8Array;
}
