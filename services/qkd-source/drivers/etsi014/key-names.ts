import { MAX_KEY_NAME_BYTES } from '#common/catalogue/qkd-keys.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { UUID_ANY_CASE } from '#common/ids/uuid.ts';

/** The name of a key: the key_IDs of the key manager's keys that it is made of. */
export function nameOf(ids: readonly string[]): Buffer {
  return Buffer.from(ids.join(' '), 'latin1');
}

/** The key_IDs in a name that came from the other end. @throws KeyweaveError QKD_UNAVAILABLE */
export function idsIn(name: Uint8Array): string[] {
  const ids = Buffer.from(name).toString('latin1').split(' ');
  if (name.length > MAX_KEY_NAME_BYTES || !ids.every((id) => UUID_ANY_CASE.test(id))) {
    throw new KeyweaveError('QKD_UNAVAILABLE', 'the other end names a QKD key by what is no key_ID');
  }
  return ids;
}
