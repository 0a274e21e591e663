import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { UUID } from '#common/ids/uuid.ts';

const NIL = '00000000-0000-0000-0000-000000000000';

/** A Key_stream_ID in canonical text form; undefined for the nil UUID, which stands for NULL (ETSI GS QKD 004 clause 6.2). */
export function parseKsid(text: string): string | undefined {
  const ksid = text.toLowerCase();
  if (!UUID.test(ksid)) throw new KeyweaveError('BAD_REQUEST', 'key_stream_id is not a UUID');
  return ksid === NIL ? undefined : ksid;
}
