import { X509Certificate } from 'node:crypto';
import {
  status as grpcStatus,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
} from '@grpc/grpc-js';
import { CALLER_METADATA, type CallerList, STREAM_METADATA } from '#common/grpc/callers.ts';
import { shownCertificate } from '#common/grpc/shown-certificate.ts';
import type { LimitedLog } from '#common/log/limited-log.ts';
import { clientNetwork } from '#common/net/client-network.ts';
import { refusalAt } from '#common/tls/open-connections.ts';
import { spiffeIdOfCertificate } from '#common/tls/spiffe.ts';
import type { Judgement, Trust } from '#common/tls/trust.ts';

interface CallerCertificate {
  readonly certificate: X509Certificate;
  readonly name: string | undefined;
  /** By what was trusted then. */
  trust: Trust;
  judgement: Judgement;
}

/** How often streams that are open are looked at. */
const STREAMS_MS = 2_000;

/** Certificates change rarely and calls are many: parsed ones are kept by their raw bytes. */
const MAX_CACHED_CERTIFICATES = 256;

/** Of a method's path in the log; a client can call by whatever path it likes. */
const MAX_PATH_CHARS = 100;

/**
 * Lets a call in only if the caller's certificate names, by its one SPIFFE
 * URI, somebody on the list of the called gRPC service. A service without a
 * list, or with an empty one, denies. The list, the certificate's dates and
 * whether it is trusted still are looked at for every call, since a connection
 * outlives them; a stream that is open when they change is ended soon after.
 */
export function authorizationInterceptor(options: {
  /** Allowed SPIFFE ids by full gRPC service name, e.g. keyweave.v1.Hybridizer. */
  callers: ReadonlyMap<string, CallerList>;
  /** What the certificates are held against now. */
  trust: () => Trust;
  refusals: Pick<LimitedLog, 'line'>;
  /** What a certificate names its owner by; the one SPIFFE URI of ours by default. */
  nameOf?: (certificate: X509Certificate) => string | undefined;
  /** Told of every refused call, by the path that was called. */
  onRefused?: ((path: string) => void) | undefined;
  /** Milliseconds since 1970, for the certificates' dates. */
  wallNow: () => number;
  /** Filled with the streams that are open, by their names (STREAM_METADATA): why a call on one of them is refused, if it is. */
  openStreams?: Map<string, StreamCheck>;
}): ServerInterceptor {
  let newestStream = 0;
  const cache = new Map<string, CallerCertificate>();
  const streams = new Set<OpenStream>();

  function certificateOf(call: ServerInterceptingCallInterface): CallerCertificate | undefined {
    const shown = shownCertificate(call);
    if (!shown) return undefined;
    const { raw, key } = shown;
    let certificate = cache.get(key);
    if (certificate === undefined) {
      certificate = parse(raw, options.trust(), options.nameOf ?? spiffeIdOfCertificate);
      if (cache.size >= MAX_CACHED_CERTIFICATES) cache.clear();
      cache.set(key, certificate);
    }
    return certificate;
  }

  function judgementOf(known: CallerCertificate): Judgement {
    const trust = options.trust();
    if (known.trust !== trust) {
      known.trust = trust;
      known.judgement = trust.judge(known.certificate);
    }
    return known.judgement;
  }

  function refusal(path: string, certificate: CallerCertificate | undefined): string | undefined {
    if (certificate?.name === undefined)
      return options.nameOf ? 'the certificate names nobody' : 'the certificate carries no SPIFFE id';
    const untrusted = refusalAt(judgementOf(certificate), options.wallNow());
    if (untrusted !== undefined) return untrusted;
    const service = path.split('/')[1] ?? '';
    if (!options.callers.get(service)?.has(certificate.name)) return 'not on the list of callers';
    return undefined;
  }

  function refuse(
    call: ServerInterceptingCallInterface,
    path: string,
    caller: string | undefined,
    why: string,
  ) {
    tell(call, path, caller, why);
    call.sendStatus({ code: grpcStatus.PERMISSION_DENIED, details: why });
  }

  function tell(
    call: ServerInterceptingCallInterface,
    path: string,
    caller: string | undefined,
    why: string,
  ) {
    const client = call.getPeer();
    options.onRefused?.(path);
    options.refusals.line(clientNetwork(client), 'warning', 'a call was refused', {
      client,
      caller,
      method: path.slice(0, MAX_PATH_CHARS),
      reason: why,
    });
  }

  /** Runs while streams are open. */
  let timer: NodeJS.Timeout | undefined;
  function watch(stream: OpenStream): void {
    streams.add(stream);
    const { call, certificate } = stream;
    options.openStreams?.set(stream.name, (path) => {
      const why = refusal(path, certificate);
      if (why !== undefined) tell(call, path, certificate.name, why);
      return why;
    });
    timer ??= setInterval(endRefusedStreams, STREAMS_MS).unref();
  }
  function unwatch(stream: OpenStream): void {
    streams.delete(stream);
    options.openStreams?.delete(stream.name);
    if (streams.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  }
  function endRefusedStreams(): void {
    for (const stream of streams) {
      const why = refusal(stream.path, stream.certificate);
      if (why === undefined) continue;
      unwatch(stream);
      refuse(stream.call, stream.path, stream.certificate.name, why);
    }
  }

  return (method, call) => {
    const certificate = certificateOf(call);
    const refused = refusal(method.path, certificate);
    const isStream = method.requestStream || method.responseStream;
    const stream =
      certificate && isStream
        ? { name: String(++newestStream), path: method.path, certificate, call }
        : undefined;
    return new ServerInterceptingCall(call, {
      start(next) {
        next({
          onReceiveMetadata(metadata, nextMetadata) {
            if (refused !== undefined) {
              refuse(call, method.path, certificate?.name, refused);
              return;
            }
            if (stream) {
              watch(stream);
              metadata.set(STREAM_METADATA, stream.name);
            }
            metadata.set(CALLER_METADATA, certificate?.name ?? '');
            nextMetadata(metadata);
          },
          ...(stream && { onCancel: () => unwatch(stream) }),
        });
      },
      ...(stream && {
        sendStatus(status, next) {
          unwatch(stream);
          next(status);
        },
      }),
    });
  };
}

/** Why the caller of an open stream may not call `path` now, in words; undefined = it may. What is refused has been logged. */
export type StreamCheck = (path: string) => string | undefined;

interface OpenStream {
  readonly name: string;
  readonly path: string;
  readonly certificate: CallerCertificate;
  readonly call: ServerInterceptingCallInterface;
}

function parse(
  raw: Buffer,
  trust: Trust,
  nameOf: (certificate: X509Certificate) => string | undefined,
): CallerCertificate {
  const certificate = new X509Certificate(raw);
  return {
    certificate,
    name: nameOf(certificate),
    trust,
    judgement: trust.judge(certificate),
  };
}
