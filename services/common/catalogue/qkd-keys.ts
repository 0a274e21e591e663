/** Secret of a QKD slot, bytes: the size that the reference asks its key managers for by default. */
export const QKD_SECRET_BYTES = 32;

/** Longest name of a key that is taken from a key manager or from the other end, bytes: four UUIDs and what is between them. */
export const MAX_KEY_NAME_BYTES = 160;
