import { basename } from 'node:path';
import type { Meter } from '@opentelemetry/api';
import type { DatedCertificate } from '#common/tls/certificate-dates.ts';

/** Until when, and since when, the certificates and revocation lists are good that the service uses now. */
export function observeCertificates(meter: Meter, certificates: () => readonly DatedCertificate[]): void {
  const notAfter = meter.createObservableGauge('keyweave_certificate_not_after_seconds', {
    description: 'End of validity, seconds since 1970; of several in one file the first that ends',
  });
  const notBefore = meter.createObservableGauge('keyweave_certificate_not_before_seconds', {
    description: 'Begin of validity, seconds since 1970',
  });
  meter.addBatchObservableCallback(
    (result) => {
      const first = new Map<string, DatedCertificate>();
      for (const certificate of certificates()) {
        const key = `${certificate.kind} ${certificate.path}`;
        const known = first.get(key);
        if (!known || certificate.notAfterMs < known.notAfterMs) first.set(key, certificate);
      }
      for (const { kind, path, notBeforeMs, notAfterMs } of first.values()) {
        const labels = { kind, file: basename(path) };
        result.observe(notAfter, notAfterMs / 1000, labels);
        result.observe(notBefore, notBeforeMs / 1000, labels);
      }
    },
    [notAfter, notBefore],
  );
}
