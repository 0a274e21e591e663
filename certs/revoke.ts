import 'reflect-metadata';
import { webcrypto, type X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import * as x509 from '@peculiar/x509';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemClock } from '#common/time/clock.ts';
import { serialOf } from '#common/tls/x509/revocation-list.ts';
import type { IssuingCa } from './ca-key.ts';
import { writeAtomically } from './ensure.ts';
import { importCaKey, pemText } from './issue.ts';

x509.cryptoProvider.set(webcrypto as never);

const DAY_MS = 86_400_000;
const CRL_NUMBER = '2.5.29.20';

/** Why a certificate is revoked (RFC 5280, 5.3.1), as openssl writes it. */
export const REVOCATION_REASONS = {
  unspecified: x509.X509CrlReason.unspecified,
  keyCompromise: x509.X509CrlReason.keyCompromise,
  affiliationChanged: x509.X509CrlReason.affiliationChanged,
  superseded: x509.X509CrlReason.superseded,
  cessationOfOperation: x509.X509CrlReason.cessationOfOperation,
} as const;

export type RevocationReason = keyof typeof REVOCATION_REASONS;

export interface RevokeOptions {
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
export async function revoke(options: RevokeOptions): Promise<number> {
  const { ca, crlPath, certificates, days } = options;
  for (const certificate of certificates) {
    if (!certificate.checkIssued(ca.parsed) || !certificate.verify(ca.parsed.publicKey)) {
      throw new KeyweaveError(
        'BAD_CONFIG',
        `the certificate ${serialOf(certificate)} (${certificate.subject}) was not issued by this CA`,
      );
    }
  }
  const nowMs = options.nowMs ?? systemClock.wallMs();
  const issuer = new x509.X509Certificate(ca.certificate);
  const { own, others } = await listsIn(crlPath, issuer);
  const entries = new Map<string, x509.X509CrlEntryParams>();
  for (const { serialNumber, revocationDate, reason } of own?.entries ?? [])
    entries.set(wholeSerial(serialNumber), {
      serialNumber: wholeSerial(serialNumber),
      revocationDate,
      ...(reason !== undefined && { reason }),
    });
  for (const certificate of certificates) {
    const serialNumber = wholeSerial(certificate.serialNumber);
    if (entries.has(serialNumber)) continue;
    const reason = REVOCATION_REASONS[options.reason];
    entries.set(serialNumber, { serialNumber, revocationDate: new Date(nowMs), reason });
  }
  const { key: signingKey, algorithm } = await importCaKey(ca.key);
  const list = await x509.X509CrlGenerator.create({
    issuer: issuer.subjectName,
    thisUpdate: new Date(nowMs),
    nextUpdate: new Date(nowMs + days * DAY_MS),
    entries: [...entries.values()],
    signingAlgorithm: algorithm,
    signingKey,
    extensions: [
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
      new x509.Extension(CRL_NUMBER, false, derInteger(numberOf(own) + 1)),
    ],
  });
  const pems = [...others, list].map(({ rawData }) => pemText('X509 CRL', Buffer.from(rawData)));
  writeAtomically(crlPath, pems.join(''), 0o644);
  return entries.size;
}

/** The list of this CA, by its signature, and those of others. */
async function listsIn(
  path: string,
  issuer: x509.X509Certificate,
): Promise<{ own: x509.X509Crl | undefined; others: x509.X509Crl[] }> {
  if (!existsSync(path)) return { own: undefined, others: [] };
  try {
    const lists = x509.PemConverter.decode(readFileSync(path, 'latin1')).map((der) => new x509.X509Crl(der));
    const signed = await Promise.all(lists.map((list) => list.verify({ publicKey: issuer })));
    return { own: lists.find((_, i) => signed[i]), others: lists.filter((_, i) => !signed[i]) };
  } catch (cause) {
    throw new KeyweaveError('BAD_CONFIG', `${path}: is not a PEM revocation list`, { cause });
  }
}

/** A serial number as the encoder wants it: whole bytes of hex, the first below 80, since it is positive. */
function wholeSerial(hex: string): string {
  const digits = hex.toLowerCase().replace(/^0+(?=.)/, '');
  const even = digits.length % 2 === 0 ? digits : `0${digits}`;
  return Number.parseInt(even.slice(0, 2), 16) >= 0x80 ? `00${even}` : even;
}

/** The number of a list (RFC 5280, 5.2.3); 0 where it has none. */
function numberOf(list: x509.X509Crl | undefined): number {
  const value = list?.getExtension(CRL_NUMBER)?.value;
  if (!value) return 0;
  const hex = Buffer.from(value).subarray(2).toString('hex');
  return Number.parseInt(hex, 16) || 0;
}

/** DER of a number of at least 0 and less than 2^47. */
function derInteger(value: number): Buffer {
  const hex = wholeSerial(value.toString(16));
  return Buffer.concat([Buffer.from([0x02, hex.length / 2]), Buffer.from(hex, 'hex')]);
}
