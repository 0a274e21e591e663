/**
 * Bytes of one secret, as gateways cut them from QKD keys: one to a key, or
 * several end to end where a key is a block of them.
 */
export const SECRET_BYTES = 32;
