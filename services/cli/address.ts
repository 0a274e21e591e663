import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Reads `host:port`, or `[v6]:port`. */
export function parseAddress(text: string): Address {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) {
    throw new KeyweaveError('BAD_REQUEST', `not an address of the form host:port: ${JSON.stringify(text)}`);
  }
  return { host, port };
}

/** Reads a whole number of at least `lowest`. */
export function parseCount(what: string, text: string, lowest = 1): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < lowest) {
    throw new KeyweaveError(
      'BAD_REQUEST',
      `${what} must be a whole number of at least ${lowest}, not ${JSON.stringify(text)}`,
    );
  }
  return value;
}
