// Two people talk over TCP. Each line is encrypted with AES-256-GCM under a key of its own, which the other end
// fetches at its own node by the index that stands beside the line.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { createClient, KeyStreamError } from '@keyweave/client';
import { addressOf, readCommandLine } from './node-options.mjs';

/** Longest line that is taken from the other end, characters. */
const MAX_LINE = 65_536;

const { positionals, client: options, uris } = readCommandLine();
const [role, where] = positionals;
if ((role !== 'listen' && role !== 'join') || where === undefined) {
  process.stderr.write('usage: conversation.mjs listen|join HOST:PORT [--node HOST:PORT --ca FILE …]\n');
  process.exit(2);
}

try {
  await talk(await reach(addressOf(where)));
} catch (error) {
  const remedy = error instanceof KeyStreamError ? `; ${error.remedy}` : '';
  process.stderr.write(`${error.message}${remedy}\n`);
  process.exitCode = 1;
}

/** The connection to the other end. */
async function reach(address) {
  if (role === 'join') {
    const socket = connect(address);
    await once(socket, 'connect');
    return socket;
  }
  const server = createServer().listen(address);
  await once(server, 'listening');
  process.stderr.write(`listening at ${where}\n`);
  const [socket] = await once(server, 'connection');
  server.close();
  return socket;
}

async function talk(socket) {
  await using stack = new AsyncDisposableStack();
  stack.defer(() => socket.destroySoon());
  const client = stack.use(await createClient(options));
  // A stream for each direction, so that the two ends never encrypt under the same key.
  const [toJoiner, toListener] = await Promise.all([
    client.open(uris('conversation-to-joiner')),
    client.open(uris('conversation-to-listener')),
  ]);
  stack.use(toJoiner);
  stack.use(toListener);
  const [sending, receiving] = role === 'listen' ? [toJoiner, toListener] : [toListener, toJoiner];
  process.stderr.write('connected; every line that you type is encrypted\n');
  await Promise.all([send(socket, sending), receive(socket, receiving)]);
  socket.end();
}

async function send(socket, stream) {
  for await (const text of createInterface({ input: process.stdin })) {
    using key = await stream.next();
    say(socket, seal(stream.ksid, key, text));
  }
  say(socket, { end: true });
}

async function receive(socket, stream) {
  let [hasEnded, isHeard] = [false, false];
  for await (const line of linesOf(socket)) {
    const message = JSON.parse(line);
    if (message.end) say(socket, { heard: true });
    hasEnded ||= message.end === true;
    isHeard ||= message.heard === true;
    // Streams are closed only when nobody needs a key of them any more.
    if (hasEnded && isHeard) break;
    if (message.end || message.heard) continue;
    try {
      using key = await stream.at(message.index);
      process.stdout.write(`${open(stream.ksid, key, message)}\n`);
    } catch (error) {
      // Gone at this end, such as a key whose answer was lost: the line cannot be read, those after it can.
      if (!(error instanceof KeyStreamError) || error.code !== 'INSUFFICIENT_KEY') throw error;
      process.stderr.write(`a line was lost: ${error.message}\n`);
    }
  }
}

function say(socket, message) {
  socket.write(`${JSON.stringify(message)}\n`);
}

/** A line for the other end. Stream and index are authenticated with it. */
function seal(ksid, { index, key }, text) {
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key.expose(), iv).setAAD(Buffer.from(`${ksid}/${index}`));
  const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
  return { index, iv: iv.toString('base64'), sealed: sealed.toString('base64') };
}

/** Throws where the line is not what the other end has sealed. */
function open(ksid, { index, key }, message) {
  const [iv, sealed] = [message.iv, message.sealed].map((text) => Buffer.from(String(text), 'base64'));
  const decipher = createDecipheriv('aes-256-gcm', key.expose(), iv, { authTagLength: 16 })
    .setAAD(Buffer.from(`${ksid}/${index}`))
    .setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]).toString('utf8');
}

async function* linesOf(socket) {
  let rest = '';
  for await (const piece of socket.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MAX_LINE) throw new Error('the other end sent a line without an end');
    yield* lines;
  }
}
