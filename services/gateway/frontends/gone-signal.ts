import type { Socket } from 'node:net';

/** Made once: an exception for each client that leaves, with where it was made, would cost more than its request. */
const GONE = new DOMException('the client has gone', 'AbortError');

/**
 * Fires in the very turn in which the socket is destroyed, before anything
 * else can happen; 'close' comes later, and a key that comes in between would
 * be lost on it.
 */
export function goneSignal(socket: Socket): AbortSignal {
  const gone = new AbortController();
  if (socket.destroyed) gone.abort(GONE);
  const destroy = socket._destroy;
  socket._destroy = (error, done) => {
    gone.abort(GONE);
    destroy.call(socket, error, done);
  };
  return gone.signal;
}
