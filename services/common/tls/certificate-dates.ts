import type { X509Certificate } from 'node:crypto';
import { DAY_MS } from '#common/time/durations.ts';
import { uriOfCertificate } from '#common/tls/spiffe.ts';
import type { RevocationList } from '#common/tls/x509/revocation-list.ts';

/** With less than this share of its life left a certificate should have been renewed. */
const ENDING_SHARE = 1 / 4;

/** A certificate, or a revocation list, and when it is good; milliseconds since 1970. */
export interface DatedCertificate {
  /** own: the service presents it; ca: it must accept what this one has issued; list: says what it must not. */
  readonly kind: 'own' | 'ca' | 'list';
  /** The file that holds it. */
  readonly path: string;
  /** The URI that names its owner, or the subject where there is none. */
  readonly who: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Whether the service cannot do its part while this one is out of date. */
  readonly needed: boolean;
}

/** From the best to the worst; one day is the last only of a certificate that is near its end at all. */
export const DATE_STATES = ['good', 'ending', 'last-day', 'expired', 'not-yet'] as const;

export type DateState = (typeof DATE_STATES)[number];

export function dateStateOf(
  { notBeforeMs, notAfterMs }: Pick<DatedCertificate, 'notBeforeMs' | 'notAfterMs'>,
  wallMs: number,
): DateState {
  const left = notAfterMs - wallMs;
  if (wallMs < notBeforeMs) return 'not-yet';
  if (left < 0) return 'expired';
  if (left >= (notAfterMs - notBeforeMs) * ENDING_SHARE) return 'good';
  return left < DAY_MS ? 'last-day' : 'ending';
}

/** Why a service cannot do its part, naming the certificate; undefined while all that it needs are in date. */
export function dateProblem(certificates: readonly DatedCertificate[], wallMs: number): string | undefined {
  for (const certificate of certificates) {
    const state = dateStateOf(certificate, wallMs);
    if (!certificate.needed) continue;
    const { path, who, notBeforeMs, notAfterMs } = certificate;
    if (state === 'expired') return `${path}: the certificate of ${who} expired on ${dateText(notAfterMs)}`;
    if (state === 'not-yet')
      return `${path}: the certificate of ${who} is not valid before ${dateText(notBeforeMs)}`;
  }
  return undefined;
}

export function datedCertificate(
  certificate: X509Certificate,
  rest: Pick<DatedCertificate, 'kind' | 'path' | 'needed'>,
): DatedCertificate {
  return {
    ...rest,
    who: whoOf(certificate),
    notBeforeMs: certificate.validFromDate.getTime(),
    notAfterMs: certificate.validToDate.getTime(),
  };
}

/** A list ends when its next is due; one that does not say has no dates. What an old one revokes stays revoked. */
export function datedList(path: string, ca: X509Certificate, list: RevocationList): DatedCertificate[] {
  const { thisUpdateMs: notBeforeMs, nextUpdateMs: notAfterMs } = list;
  if (notAfterMs === undefined) return [];
  return [{ kind: 'list', path, who: whoOf(ca), notBeforeMs, notAfterMs, needed: false }];
}

/** The owner's URI, or the subject on one line where there is none. */
export function whoOf(certificate: X509Certificate): string {
  return uriOfCertificate(certificate) ?? certificate.subject.replaceAll('\n', ', ');
}

/** A date with its time, in UTC. */
export function dateText(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
