import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { systemClock } from '#common/time/clock.ts';
import type { CertificateFiles } from '#common/tls/certificate-files.ts';
import { readTrust } from '#common/tls/trust.ts';

/** How long before it is made a certificate starts to be good: clocks of different machines differ a little. */
export const BACKDATE_MS = 5 * 60_000;

/** A certificate with less than this share of its life left is issued anew. */
export const RENEWAL_SHARE = 1 / 3;

/** A new certificate must live longer by this share of the old life, or nothing is gained: the CA is at its end. */
const GAIN_SHARE = 1 / 10;

export interface Life {
  /** From when it was made to its last moment, by its own dates. */
  readonly ownMs: number;
  /** Good until then: its own end or that of its CA, whichever comes first. */
  readonly endMs: number;
}

/** How long a certificate lives; its issuer counts where it is known. */
export function lifeOf(certificate: X509Certificate, cas: readonly X509Certificate[]): Life {
  const issuer = issuerAmong(cas, certificate);
  const [fromMs, toMs] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
  return {
    ownMs: toMs - fromMs - BACKDATE_MS,
    endMs: Math.min(toMs, issuer?.validToDate.getTime() ?? toMs),
  };
}

/** Whether a third of its life, or less, is left. */
export function isDue({ ownMs, endMs }: Life, wallMs: number): boolean {
  return endMs - wallMs <= ownMs * RENEWAL_SHARE;
}

/** When a certificate that is issued now, for as long as the old one, would end; undefined where nothing is gained by it. */
export function newEndOf({ ownMs, endMs }: Life, ca: X509Certificate, wallMs: number): number | undefined {
  const newEndMs = Math.min(wallMs + ownMs, ca.validToDate.getTime());
  return newEndMs - endMs < ownMs * GAIN_SHARE ? undefined : newEndMs;
}

/** The CA that has issued a certificate, by its signature. */
export function issuerAmong(
  cas: readonly X509Certificate[],
  certificate: X509Certificate,
): X509Certificate | undefined {
  return cas.find((ca) => certificate.checkIssued(ca) && certificate.verify(ca.publicKey));
}

/** Why a service's certificate should be issued anew with this CA, in words; undefined where it is good for a while. */
export function renewalReason(
  { certPath, keyPath }: CertificateFiles,
  { ca, caPath, crlPath }: { ca: X509Certificate; caPath: string; crlPath?: string | undefined },
): string | undefined {
  if (!existsSync(certPath) || !existsSync(keyPath)) return 'missing';
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(readFileSync(certPath));
    if (!certificate.checkPrivateKey(createPrivateKey(readFileSync(keyPath)))) return 'key of another one';
  } catch {
    return 'not readable';
  }
  if (!issuerAmong([ca], certificate)) return 'of another CA';
  if (readTrust(caPath, crlPath).judge(certificate).isRevoked) return 'revoked';
  return isDue(lifeOf(certificate, [ca]), systemClock.wallMs()) ? 'a third of its life is left' : undefined;
}
