import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';

export interface ShownCertificate {
  /** DER. */
  readonly raw: Buffer;
  /** The same bytes as text, to find it by. */
  readonly key: string;
}

/** By session: the certificate is part of the handshake, and TLS 1.3 has but one. */
const shown = new WeakMap<object, ShownCertificate>();

/**
 * The certificate that the caller's end of the connection has shown; undefined
 * where there is none. The transport makes an object of the whole certificate
 * whenever it is asked, which is why it is asked once for each session.
 */
export function shownCertificate(call: ServerInterceptingCallInterface): ShownCertificate | undefined {
  const session = sessionOf(call);
  const known = session && shown.get(session);
  if (known) return known;
  const raw = call.getAuthContext().sslPeerCertificate?.raw;
  if (!raw) return undefined;
  const certificate = { raw, key: raw.toString('latin1') };
  if (session) shown.set(session, certificate);
  return certificate;
}

/** The HTTP/2 session that a call came over; undefined where the transport does not show it, and once it has ended. */
function sessionOf(call: ServerInterceptingCallInterface): object | undefined {
  const { stream } = call as unknown as { stream?: { session?: object } };
  return stream?.session;
}
