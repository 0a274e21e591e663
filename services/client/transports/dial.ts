import { isIP, type Socket, connect as tcpConnect } from 'node:net';
import {
  checkServerIdentity,
  createSecureContext,
  type PeerCertificate,
  type SecureContext,
  connect as tlsConnect,
} from 'node:tls';
import type { Clock } from '#common/time/clock.ts';
import { type Call, failed, KeyStreamError, plain } from '../key-stream-error.ts';
import type { CallLimit } from './line.ts';
import { type ClientTls, type NodeAddress, placeOf, readTls } from './node-address.ts';

/** Ends of a handshake that the network or a restart brings about, and no certificate. */
const PASSING = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH']);

/**
 * A connection over TCP, or TLS 1.3.
 *
 * @throws KeyStreamError UNREACHABLE, TLS_FAILED, BAD_OPTIONS; the reason of the signal.
 */
export async function dial(
  node: NodeAddress,
  call: Call,
  { connectMs, signal }: CallLimit,
  clock: Pick<Clock, 'after'>,
): Promise<Socket> {
  signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const { host, port, tls } = node;
  const socket = tls ? tlsConnect(tlsOptions(node, call, tls)) : tcpConnect({ host, port });
  const giveUp = (why: unknown) => {
    settle();
    socket.destroy();
    reject(why);
  };
  const onError = (cause: NodeJS.ErrnoException) => giveUp(dialFailure(node, call, cause));
  const onAbort = () => giveUp(signal?.reason);
  const timer = clock.after(connectMs, () =>
    giveUp(failed('UNREACHABLE', call, `no node answers at ${placeOf(node)} within ${connectMs / 1000} s`)),
  );
  const settle = () => {
    timer.cancel();
    signal?.removeEventListener('abort', onAbort);
    socket.removeListener('error', onError);
    // What comes once it is given up is of no interest.
    socket.on('error', () => undefined);
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  socket.on('error', onError);
  socket.once(tls ? 'secureConnect' : 'connect', () => {
    settle();
    resolve(socket);
  });
  return promise;
}

function dialFailure(node: NodeAddress, call: Call, cause: NodeJS.ErrnoException): KeyStreamError {
  const at = placeOf(node);
  if (node.tls === undefined || cause.syscall === 'connect' || cause.syscall === 'getaddrinfo')
    return failed('UNREACHABLE', call, `no node answers at ${at}`, { cause });
  const code = PASSING.has(cause.code ?? '') ? 'UNREACHABLE' : 'TLS_FAILED';
  return failed(code, call, `TLS with ${at} fails: ${plain(cause.message)}`, { cause });
}

function tlsOptions({ host, port }: NodeAddress, call: Call, tls: ClientTls) {
  const expected = tls.serverName ?? host;
  let secureContext: SecureContext;
  try {
    secureContext = createSecureContext({ ...readTls(call, tls), minVersion: 'TLSv1.3' });
  } catch (thrown) {
    if (thrown instanceof KeyStreamError) throw thrown;
    // No cause: what is wrong may be the key.
    throw failed('BAD_OPTIONS', call, `tls: the certificates cannot be used: ${plain(String(thrown))}`);
  }
  return {
    ...{ host, port, secureContext },
    // An IP address goes into no handshake as a name; it is checked against the certificate all the same.
    servername: isIP(expected) === 0 ? expected : '',
    checkServerIdentity: (_name: string, certificate: PeerCertificate) =>
      checkServerIdentity(expected, certificate),
  };
}
