import { X509Certificate } from 'node:crypto';
import {
  status as grpcStatus,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
} from '@grpc/grpc-js';
import { CALLER_METADATA } from '#common/grpc/callers.ts';
import { shownCertificate } from '#common/grpc/shown-certificate.ts';
import type { Log } from '#common/log/log.ts';
import { spiffeIdOfCertificate } from '#common/tls/spiffe.ts';

interface CallerCertificate {
  readonly spiffeId: string | undefined;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Certificates change rarely and calls are many: parsed ones are kept by their raw bytes. */
const MAX_CACHED_CERTIFICATES = 256;

/**
 * Lets a call in only if the caller's certificate names, by its one SPIFFE
 * URI, somebody on the list of the called gRPC service. A service without a
 * list, or with an empty one, denies. The certificate's dates are checked at
 * every call, since a connection outlives them.
 */
export function authorizationInterceptor(options: {
  /** Allowed SPIFFE ids by full gRPC service name, e.g. keyweave.v1.Hybridizer. */
  callers: ReadonlyMap<string, ReadonlySet<string>>;
  log: Log;
  /** Milliseconds since 1970, for the certificates' dates. */
  wallNow: () => number;
}): ServerInterceptor {
  const cache = new Map<string, CallerCertificate>();

  function certificateOf(call: ServerInterceptingCallInterface): CallerCertificate | undefined {
    const shown = shownCertificate(call);
    if (!shown) return undefined;
    const { raw, key } = shown;
    let certificate = cache.get(key);
    if (certificate === undefined) {
      certificate = parse(raw);
      if (cache.size >= MAX_CACHED_CERTIFICATES) cache.clear();
      cache.set(key, certificate);
    }
    return certificate;
  }

  function refusal(path: string, certificate: CallerCertificate | undefined): string | undefined {
    if (certificate?.spiffeId === undefined) return 'the certificate carries no SPIFFE id';
    const now = options.wallNow();
    if (now < certificate.notBeforeMs || now > certificate.notAfterMs)
      return 'the certificate is out of date';
    const service = path.split('/')[1] ?? '';
    if (!options.callers.get(service)?.has(certificate.spiffeId)) return 'not on the list of callers';
    return undefined;
  }

  return (method, call) => {
    const certificate = certificateOf(call);
    const refused = refusal(method.path, certificate);
    if (refused !== undefined) {
      options.log.warning('call refused', {
        method: method.path,
        caller: certificate?.spiffeId,
        reason: refused,
      });
    }
    return new ServerInterceptingCall(call, {
      start(next) {
        next({
          onReceiveMetadata(metadata, nextMetadata) {
            if (refused !== undefined) {
              call.sendStatus({ code: grpcStatus.PERMISSION_DENIED, details: refused });
              return;
            }
            metadata.set(CALLER_METADATA, certificate?.spiffeId ?? '');
            nextMetadata(metadata);
          },
        });
      },
    });
  };
}

function parse(raw: Buffer): CallerCertificate {
  const certificate = new X509Certificate(raw);
  return {
    spiffeId: spiffeIdOfCertificate(certificate),
    notBeforeMs: certificate.validFromDate.getTime(),
    notAfterMs: certificate.validToDate.getTime(),
  };
}
