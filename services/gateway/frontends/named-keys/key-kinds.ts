import type { Owner } from '../../streams/owner.ts';

/** A kind of listener that gives keys out by names. Its streams and its names are no other kind's. */
export interface KeyKind {
  /** In the URIs of its streams. */
  readonly name: string;
  /**
   * Who owns its streams. No certificate's name has a comma that is not quoted,
   * so that no application on another listener is taken for it.
   */
  readonly owner: Owner;
  /** Goes into the names of its keys. */
  readonly label: string;
  /** The digit of its keys' names where UUIDs have their version, by which a name says of which kind it is. */
  readonly digit: string;
  /** The setting that names its parties, and what one is called, for messages. */
  readonly setting: string;
  readonly party: string;
}

/** Keys of ETSI GS QKD 014; their names are UUIDs of version 8 (RFC 9562, 5.8). */
export const ETSI014_KEYS: KeyKind = {
  name: 'rest',
  owner: { identity: 'listeners.rest, for SAEs', address: 'listeners.rest' },
  label: 'keyweave etsi014 key_ID 1\0',
  digit: '8',
  setting: 'listeners.rest.saes',
  party: 'SAE',
};

/** Keys of SKIP; no UUID has their digit. */
export const SKIP_KEYS: KeyKind = {
  name: 'skip',
  owner: { identity: 'listeners.skip, for systems', address: 'listeners.skip' },
  label: 'keyweave skip keyId 1\0',
  digit: 'f',
  setting: 'listeners.skip.systems',
  party: 'system',
};
