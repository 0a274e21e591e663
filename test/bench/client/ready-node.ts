import { createServer, type Socket } from 'node:net';
import { isBalanced } from './load-client.ts';

/**
 * A node that has every key and does nothing else: it answers each request of
 * the JSON API with the same words, as long as a gateway's. What a client
 * waits for it is the machine's own share of what it waits for a gateway.
 */
const OPENED = JSON.stringify({ status: 0, key_stream_id: '00000000-0000-4000-8000-000000000000' });
const KEY = JSON.stringify({
  status: 0,
  index: 0,
  key_buffer: Array.from({ length: 32 }, (_, i) => 100 + i),
  metadata: { metadata_size: 0, metadata_buffer: ''.padEnd(200, '-') },
});

function serve(socket: Socket): void {
  let text = '';
  socket.setNoDelay(true);
  socket.setEncoding('latin1');
  socket.on('error', () => socket.destroy());
  socket.on('data', (data) => {
    text += data;
    if (!text.endsWith('}') || !isBalanced(text)) return;
    socket.write(text.includes('"GET_KEY"') ? KEY : OPENED, 'latin1');
    text = '';
  });
}

const server = createServer(serve).listen(0, '127.0.0.1', () => process.send?.(server.address()));
// With its parent it ends, too.
process.once('disconnect', () => process.exit(0));
