import { Socket } from 'node:net';

/**
 * What all plain connections of this process are read into; larger than any
 * usual request, and no larger than what a connection may hold of it while a
 * request waits.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(16_384);

type Handle = object & { readonly fd: number };

/**
 * Takes an accepted connection over such that it is read into one buffer that
 * all share. Otherwise the run time allocates 64 KiB for every read, and a
 * request of 100 bytes costs a GET_KEY more in garbage collection than in
 * everything else. The server must accept with `pauseOnConnect`.
 *
 * @param receive is lent the bytes until it returns.
 * @returns the connection to use; the accepted one where its handle cannot be had.
 */
export function leanSocket(accepted: Socket, receive: (data: Buffer) => void): Socket {
  const holder = accepted as unknown as { _handle?: Handle | null };
  const handle = holder._handle;
  if (!handle) {
    accepted.on('data', receive);
    accepted.resume();
    return accepted;
  }
  holder._handle = null;
  const options = {
    handle,
    allowHalfOpen: true,
    onread: {
      buffer: READ_BUFFER,
      callback: (length: number) => {
        receive(READ_BUFFER.subarray(0, length));
        return true;
      },
    },
  };
  const socket = new Socket(options as unknown as ConstructorParameters<typeof Socket>[0]);
  // The server counts the accepted one.
  socket.once('close', () => accepted.destroy());
  return socket;
}
