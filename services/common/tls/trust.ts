import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { pemBlocks } from '#common/tls/x509/pem-blocks.ts';
import {
  issuerIdentityOf,
  type RevocationList,
  readRevocationLists,
  serialOf,
} from '#common/tls/x509/revocation-list.ts';

/** CAs in one trust file at most; two are there while one is replaced. */
const MAX_CAS = 64;

const UNKNOWN_CA = 'no CA that is trusted here has issued the certificate';

/** What is to be thought of a certificate, as long as what is trusted stays the same. */
export interface Judgement {
  /** Whether one of the CAs has issued it. */
  readonly isKnown: boolean;
  readonly isRevoked: boolean;
  /** Why it is not accepted, in words; undefined where it is, within the dates below. */
  readonly refusal: string | undefined;
  /** Milliseconds since 1970: when both it and the CA that issued it are good. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** A list with the CA that has signed it. */
export interface BelievedList {
  readonly ca: X509Certificate;
  readonly list: RevocationList;
}

/** The CAs of a network and what they have revoked: one reading of the files. */
export interface Trust {
  /** PEM, for a TLS context. */
  readonly pem: Buffer;
  readonly cas: readonly X509Certificate[];
  readonly lists: readonly BelievedList[];
  judge(certificate: X509Certificate): Judgement;
  /** The CA that has issued a certificate, by its signature; undefined where none of these has. */
  issuerOf(certificate: X509Certificate): X509Certificate | undefined;
}

/**
 * Reads the CAs in the trust file, and the revocation lists where there is a
 * file of them. A list of a CA that is not in the trust file is left aside: it
 * was removed, and with it all that it issued.
 *
 * @throws Error naming the file and what is wrong with it.
 */
export function readTrust(caPath: string, crlPath?: string): Trust {
  const pem = read(caPath);
  const cas = naming(caPath, () => readCertificates(pem.toString('latin1')));
  const lists = crlPath === undefined ? [] : naming(crlPath, () => believedLists(crlPath, cas));
  const revoked = new Map<string, Set<string>>();
  for (const { ca, list } of lists) {
    const serials = revoked.get(ca.fingerprint256) ?? new Set<string>();
    revoked.set(ca.fingerprint256, serials);
    for (const serial of list.serials) serials.add(serial);
  }
  const issuerOf = (certificate: X509Certificate) =>
    cas.find(
      (ca) => isSame(ca, certificate) || (certificate.checkIssued(ca) && certificate.verify(ca.publicKey)),
    );
  return {
    pem,
    cas,
    lists,
    issuerOf,
    judge: (certificate) => {
      const ca = issuerOf(certificate);
      const notBeforeMs = certificate.validFromDate.getTime();
      const notAfterMs = certificate.validToDate.getTime();
      if (!ca) return { isKnown: false, isRevoked: false, refusal: UNKNOWN_CA, notBeforeMs, notAfterMs };
      const isRevoked = revoked.get(ca.fingerprint256)?.has(serialOf(certificate)) ?? false;
      return {
        isKnown: true,
        isRevoked,
        refusal: isRevoked ? 'the certificate is revoked' : undefined,
        notBeforeMs: Math.max(notBeforeMs, ca.validFromDate.getTime()),
        notAfterMs: Math.min(notAfterMs, ca.validToDate.getTime()),
      };
    },
  };
}

/** One that is trusted itself needs no issuer, and a self-signed one need not be allowed to sign others. */
function isSame(ca: X509Certificate, certificate: X509Certificate): boolean {
  return ca.fingerprint256 === certificate.fingerprint256;
}

/** The certificates of a PEM text, at least one. @throws Error */
export function readCertificates(pem: string): X509Certificate[] {
  const blocks = pemBlocks(pem, 'CERTIFICATE');
  if (blocks.length === 0) throw new Error('holds no PEM certificate');
  if (blocks.length > MAX_CAS) throw new Error(`holds more than ${MAX_CAS} certificates`);
  return blocks.map((der, i) => {
    try {
      return new X509Certificate(der);
    } catch (cause) {
      throw new Error(`certificate ${i + 1} of the file cannot be read`, { cause });
    }
  });
}

function believedLists(path: string, cas: readonly X509Certificate[]): BelievedList[] {
  const issuers = cas.map((ca) => ({ ca, ...issuerIdentityOf(ca) }));
  return readRevocationLists(read(path).toString('latin1')).flatMap((list) => {
    const named = issuers.filter(({ name }) => name.equals(list.issuer));
    const ca = named.find((issuer) => list.isSignedBy(issuer.ca.publicKey))?.ca;
    if (ca) return [{ ca, list }];
    // A CA that was replaced by one of the same name leaves its list behind, which tells itself apart by the key.
    const { keyId } = list;
    const ofAnother = keyId && named.every((issuer) => issuer.keyId && !issuer.keyId.equals(keyId));
    if (named.length === 0 || ofAnother) return [];
    throw new Error(`a list names ${named[0]?.ca.subject} as its issuer, which has not signed it`);
  });
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new Error(`${path}: cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}

function naming<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    const { message } = cause as Error;
    throw new Error(message.startsWith(`${path}: `) ? message : `${path}: ${message}`, { cause });
  }
}
