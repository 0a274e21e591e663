import type { IncomingMessage } from 'node:http';

/**
 * Reads the body of a request, unless the client goes away before it is whole.
 *
 * @param most bytes; a body that says that it has more is not begun.
 * @param done is called once at most: with undefined where there are more, and the rest is then not read.
 */
export function readBody(
  request: IncomingMessage,
  most: number,
  done: (body: Buffer | undefined) => void,
): void {
  if (Number(request.headers['content-length'] ?? 0) > most) {
    done(undefined);
    return;
  }
  const pieces: Buffer[] = [];
  let bytes = 0;
  const take = (piece: Buffer) => {
    bytes += piece.length;
    if (bytes <= most) {
      pieces.push(piece);
      return;
    }
    request.off('data', take).off('end', end);
    done(undefined);
  };
  const end = () => done(pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces));
  request.on('data', take).once('end', end);
}
