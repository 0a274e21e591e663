import { createPrivateKey, type KeyObject, sign, type X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemClock } from '#common/time/clock.ts';
import { DAY_MS } from '#common/time/durations.ts';
import { derInteger, derObjectId, derOf, derTime, TAG } from '#common/tls/x509/der.ts';
import { pemBlocks } from '#common/tls/x509/pem-blocks.ts';
import {
  AUTHORITY_KEY_ID,
  CRL_NUMBER,
  issuerIdentityOf,
  type RevocationList,
  readRevocationLists,
  serialOf,
} from '#common/tls/x509/revocation-list.ts';
import type { IssuingCa } from './ca-key.ts';
import { writeAtomically } from './ensure.ts';
import { pemText } from './issue.ts';

const LABEL = 'X509 CRL';
const REASON_CODE = '2.5.29.21';
const ECDSA_SHA256 = '1.2.840.10045.4.3.2';
const RSA_SHA256 = '1.2.840.113549.1.1.11';

/** Why a certificate is revoked (RFC 5280, 5.3.1), as openssl writes it. */
export const REVOCATION_REASONS = {
  unspecified: 0,
  keyCompromise: 1,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
} as const;

export type RevocationReason = keyof typeof REVOCATION_REASONS;

export interface RevokeOptions {
  /** EC or RSA. */
  ca: IssuingCa;
  /** The file of revocation lists; made where there is none. Lists of other CAs in it stay. */
  crlPath: string;
  /** May be empty: then the list is only signed anew. */
  certificates: readonly X509Certificate[];
  reason: RevocationReason;
  /** When the next list is due, days from now; what this one revokes stays revoked after that, too. */
  days: number;
  nowMs?: number;
}

/**
 * Adds certificates to the CA's revocation list and signs it anew. Gives how
 * many certificates it revokes then. May be repeated.
 *
 * @throws KeyweaveError BAD_CONFIG where a certificate is not of this CA, or the file is not what it should be.
 */
export function revoke(options: RevokeOptions): number {
  const { ca, crlPath, certificates, days, nowMs = systemClock.wallMs() } = options;
  for (const certificate of certificates) {
    if (!certificate.checkIssued(ca.parsed) || !certificate.verify(ca.parsed.publicKey)) {
      throw new KeyweaveError(
        'BAD_CONFIG',
        `the certificate ${serialOf(certificate)} (${certificate.subject}) was not issued by this CA`,
      );
    }
  }
  const { own, others } = listsIn(crlPath, ca.parsed.publicKey);
  const serials = new Set(own?.serials);
  const added = [...new Set(certificates.map(serialOf))].filter((serial) => !serials.has(serial));
  const list = signedList(ca, {
    nowMs,
    nextMs: nowMs + days * DAY_MS,
    entries: [
      own?.entries ?? Buffer.alloc(0),
      ...added.map((serial) => entryOf(serial, nowMs, options.reason)),
    ],
    number: (own?.number ?? 0) + 1,
  });
  writeAtomically(crlPath, [...others, list].map((der) => pemText(LABEL, der)).join(''), 0o644);
  return serials.size + added.length;
}

/** The list of this CA, by its signature, and the DER of those of others. */
function listsIn(path: string, key: KeyObject): { own: RevocationList | undefined; others: Buffer[] } {
  if (!existsSync(path)) return { own: undefined, others: [] };
  try {
    const text = readFileSync(path, 'latin1');
    const lists = readRevocationLists(text);
    const own = lists.find((list) => list.isSignedBy(key));
    return { own, others: pemBlocks(text, LABEL).filter((_, i) => lists[i] !== own) };
  } catch (cause) {
    throw new KeyweaveError('BAD_CONFIG', `${path}: ${(cause as Error).message}`, { cause });
  }
}

const sequence = (...contents: readonly Buffer[]) => derOf(TAG.sequence, ...contents);

const extension = (id: string, value: Buffer) => sequence(derObjectId(id), derOf(TAG.octetString, value));

function entryOf(serial: string, nowMs: number, reason: RevocationReason): Buffer {
  const code = REVOCATION_REASONS[reason];
  // That there is none is said by saying nothing.
  const said = code === 0 ? [] : [sequence(extension(REASON_CODE, derOf(TAG.enumerated, Buffer.of(code))))];
  return sequence(derInteger(serial), derTime(nowMs), ...said);
}

/** DER of a list (RFC 5280, 5.1). */
function signedList(
  ca: IssuingCa,
  body: { nowMs: number; nextMs: number; entries: readonly Buffer[]; number: number },
): Buffer {
  const key = createPrivateKey(ca.key);
  const isRsa = key.asymmetricKeyType === 'rsa';
  const algorithm = isRsa
    ? sequence(derObjectId(RSA_SHA256), derOf(TAG.null))
    : sequence(derObjectId(ECDSA_SHA256));
  const { name, keyId } = issuerIdentityOf(ca.parsed);
  const entries = Buffer.concat(body.entries);
  const extensions = sequence(
    ...(keyId ? [extension(AUTHORITY_KEY_ID, sequence(derOf(TAG.key0, keyId)))] : []),
    extension(CRL_NUMBER, derInteger(body.number.toString(16))),
  );
  const signed = sequence(
    derInteger('1'),
    algorithm,
    name,
    derTime(body.nowMs),
    derTime(body.nextMs),
    ...(entries.length > 0 ? [sequence(entries)] : []),
    derOf(TAG.context0, extensions),
  );
  const signature = sign('sha256', signed, key);
  return sequence(signed, algorithm, derOf(TAG.bitString, Buffer.of(0), signature));
}
