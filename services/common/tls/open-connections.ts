import type { TLSSocket } from 'node:tls';
import type { Judgement, Trust } from '#common/tls/trust.ts';

/**
 * Connections whose other end has shown a certificate: TLS looks at it once,
 * and a connection outlives what it saw. Each is ended when the certificate is
 * not accepted any more.
 */
export class OpenConnections {
  readonly #sockets = new Map<TLSSocket, Judgement>();

  /**
   * Keeps watch over a new connection until it closes; one without a
   * certificate is not one of these.
   *
   * @returns why it is refused at once, and then not watched.
   */
  add(socket: TLSSocket, trust: Trust, wallMs: number): string | undefined {
    const certificate = socket.getPeerX509Certificate();
    if (!certificate || socket.destroyed) return undefined;
    const judgement = trust.judge(certificate);
    const why = refusalAt(judgement, wallMs);
    if (why !== undefined) return why;
    this.#sockets.set(socket, judgement);
    socket.once('close', () => this.#sockets.delete(socket));
    return undefined;
  }

  /** Judges them by what is trusted from now on. */
  rejudge(trust: Trust): void {
    for (const socket of this.#sockets.keys()) {
      const certificate = socket.getPeerX509Certificate();
      if (certificate) this.#sockets.set(socket, trust.judge(certificate));
    }
  }

  /**
   * Ends those that are not accepted, or not at this time.
   *
   * @param end is told why.
   * @param spareUnknown whether those whose CA was removed may stay for now.
   */
  endRefused(
    wallMs: number,
    end: (socket: TLSSocket, why: string) => void,
    { spareUnknown = false }: { spareUnknown?: boolean } = {},
  ): void {
    for (const [socket, judgement] of this.#sockets) {
      const why = refusalAt(judgement, wallMs);
      if (why === undefined || (spareUnknown && !judgement.isKnown)) continue;
      this.#sockets.delete(socket);
      end(socket, why);
    }
  }
}

/** Why a certificate is not accepted at that time, in words. */
export function refusalAt(
  { refusal, notBeforeMs, notAfterMs }: Judgement,
  wallMs: number,
): string | undefined {
  if (refusal !== undefined) return refusal;
  return wallMs < notBeforeMs || wallMs > notAfterMs ? 'the certificate is out of date' : undefined;
}
