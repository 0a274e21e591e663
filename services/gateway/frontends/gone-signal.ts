import type { Socket } from 'node:net';

/**
 * Fires in the very turn in which the socket is destroyed, before anything
 * else can happen; 'close' comes later, and a key that comes in between would
 * be lost on it.
 */
export function goneSignal(socket: Socket): AbortSignal {
  const gone = new AbortController();
  if (socket.destroyed) gone.abort();
  const destroy = socket._destroy;
  socket._destroy = (error, done) => {
    gone.abort();
    destroy.call(socket, error, done);
  };
  return gone.signal;
}
