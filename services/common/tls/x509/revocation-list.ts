import { type KeyObject, verify, type X509Certificate } from 'node:crypto';
import { DerReader, objectIdText, TAG, timeMs } from '#common/tls/x509/der.ts';
import { pemBlocks } from '#common/tls/x509/pem-blocks.ts';

/** Some 200,000 entries. */
export const MAX_CRL_BYTES = 8 * 1024 * 1024;

/** Hash of each signature algorithm (RFC 5758, RFC 4055, RFC 8410); null: the algorithm has its own. */
const SIGNATURES: Readonly<Record<string, string | null>> = {
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.3.101.112': null,
};

const SUBJECT_KEY_ID = '2.5.29.14';
export const AUTHORITY_KEY_ID = '2.5.29.35';
export const CRL_NUMBER = '2.5.29.20';

/** A certificate revocation list (RFC 5280, 5.1), read but not believed until `isSignedBy` holds. */
export interface RevocationList {
  /** DER of the issuer's name. */
  readonly issuer: Buffer;
  readonly thisUpdateMs: number;
  /** Identifier of the key that has signed it, where it says so. */
  readonly keyId: Buffer | undefined;
  /** When the next one is due; undefined where it does not say. */
  readonly nextUpdateMs: number | undefined;
  /** Serial numbers in upper-case hex without leading zeros, as `serialOf` gives them. */
  readonly serials: ReadonlySet<string>;
  /** DER of its entries, one behind the other. */
  readonly entries: Buffer;
  /** Its number among those of its CA (RFC 5280, 5.2.3); 0 where it has none. */
  readonly number: number;
  isSignedBy(key: KeyObject): boolean;
}

/** The lists of a PEM file. @throws Error where one is not a complete list that this module understands. */
export function readRevocationLists(pem: string): RevocationList[] {
  if (pem.length > MAX_CRL_BYTES) throw new Error(`has more than ${MAX_CRL_BYTES} bytes`);
  const blocks = pemBlocks(pem, 'X509 CRL');
  if (blocks.length === 0) throw new Error('holds no PEM of a certificate revocation list (X509 CRL)');
  return blocks.map(readList);
}

function readList(der: Buffer): RevocationList {
  const file = new DerReader(der);
  const list = new DerReader(file.next(TAG.sequence).content);
  file.end();
  const signed = list.next(TAG.sequence);
  const algorithm = objectIdText(new DerReader(list.next(TAG.sequence).content).next(TAG.objectId).content);
  const bits = list.next(TAG.bitString).content;
  list.end();
  const hash = SIGNATURES[algorithm];
  if (hash === undefined) throw new Error(`is signed by an algorithm that is not known here (${algorithm})`);

  const body = new DerReader(signed.content);
  body.optional(TAG.integer);
  body.next(TAG.sequence);
  const issuer = body.next(TAG.sequence).whole;
  const thisUpdateMs = timeMs(body.any());
  const hasNext = body.tag === TAG.utcTime || body.tag === TAG.generalizedTime;
  const nextUpdateMs = hasNext ? timeMs(body.any()) : undefined;
  const serials = new Set<string>();
  const entries = body.optional(TAG.sequence)?.content ?? Buffer.alloc(0);
  const revoked = new DerReader(entries);
  while (!revoked.done) {
    const entry = new DerReader(revoked.next(TAG.sequence).content);
    serials.add(serialText(entry.next(TAG.integer).content));
    timeMs(entry.any());
    refuseCritical(entry.optional(TAG.sequence)?.content);
    entry.end();
  }
  const explicit = body.optional(TAG.context0)?.content;
  const extensions = explicit && new DerReader(explicit).next(TAG.sequence).content;
  refuseCritical(extensions);
  body.end();
  const authority = extensionIn(extensions, AUTHORITY_KEY_ID);
  const number = extensionIn(extensions, CRL_NUMBER);
  return {
    issuer,
    keyId:
      authority &&
      new DerReader(new DerReader(authority).next(TAG.sequence).content).optional(TAG.key0)?.content,
    thisUpdateMs,
    nextUpdateMs,
    serials,
    entries,
    number: number ? Number.parseInt(new DerReader(number).next(TAG.integer).content.toString('hex'), 16) : 0,
    isSignedBy: (key) => bits[0] === 0 && verify(hash, signed.whole, key, bits.subarray(1)),
  };
}

interface Extension {
  readonly id: string;
  readonly critical: boolean;
  readonly value: Buffer;
}

function* extensionsIn(extensions: Buffer | undefined): Generator<Extension> {
  const list = new DerReader(extensions ?? Buffer.alloc(0));
  while (!list.done) {
    const extension = new DerReader(list.next(TAG.sequence).content);
    const id = objectIdText(extension.next(TAG.objectId).content);
    const critical = (extension.optional(TAG.boolean)?.content[0] ?? 0) !== 0;
    yield { id, critical, value: extension.next(TAG.octetString).content };
  }
}

function extensionIn(extensions: Buffer | undefined, wanted: string): Buffer | undefined {
  for (const { id, value } of extensionsIn(extensions)) if (id === wanted) return value;
  return undefined;
}

/** A list of a part only, a delta or of several issuers says so in a critical extension (RFC 5280, 5.2): it must not be read as if it were whole. */
function refuseCritical(extensions: Buffer | undefined): void {
  for (const { id, critical } of extensionsIn(extensions))
    if (critical) throw new Error(`has a critical extension that is not known here (${id})`);
}

/** The serial number of a certificate, in the form of `RevocationList.serials`. */
export function serialOf(certificate: X509Certificate): string {
  return certificate.serialNumber.replace(/^0+(?=.)/, '');
}

function serialText(content: Buffer): string {
  return content
    .toString('hex')
    .toUpperCase()
    .replace(/^0+(?=.)/, '');
}

/** What the lists that a CA signs call their issuer, and the identifier of its key where it has one. */
export function issuerIdentityOf(ca: X509Certificate): { name: Buffer; keyId: Buffer | undefined } {
  const certificate = new DerReader(new DerReader(ca.raw).next(TAG.sequence).content);
  const body = new DerReader(certificate.next(TAG.sequence).content);
  body.optional(TAG.context0);
  body.next(TAG.integer);
  // The algorithm, the issuer and the dates come before the name.
  for (let i = 0; i < 3; i++) body.next(TAG.sequence);
  const name = body.next(TAG.sequence).whole;
  while (!body.done && body.tag !== TAG.context3) body.any();
  const explicit = body.optional(TAG.context3)?.content;
  const own = extensionIn(explicit && new DerReader(explicit).next(TAG.sequence).content, SUBJECT_KEY_ID);
  return { name, keyId: own && new DerReader(own).next(TAG.octetString).content };
}
