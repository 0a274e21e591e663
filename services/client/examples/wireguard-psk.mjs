// Gives both ends of a WireGuard tunnel a new preshared key again and again. The leading end takes a key and says its
// index to the other one, through the tunnel itself; that one fetches the same key at its own node. Once it has set
// it, the leading end does.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createClient, KeyStreamError } from '@keyweave/client';
import { addressOf, readCommandLine } from './node-options.mjs';

/** Keys that are tried at one change, where the other end has not got the first. */
const TRIES = 5;

/** How long the other end may take to fetch and set a key. */
const ANSWER_LIMIT_MS = 30_000;

/** By a pipe, since wg opens /dev/stdin, and what Node gives to a program is a socket, which cannot be opened. */
const SET = 'cat | wg set "$1" peer "$2" preshared-key /dev/stdin';

/** How long the leading end may take to listen. */
const REACH_LIMIT_MS = 30_000;

const {
  values,
  positionals,
  client: options,
  uris,
} = readCommandLine({
  interface: { type: 'string', default: 'wg0' },
  /** The other end's public key, base64. */
  peer: { type: 'string' },
  /** Seconds between two changes: WireGuard itself makes new session keys every two minutes. */
  every: { type: 'string', default: '120' },
  /** Ends after so many changes; 0: never. */
  times: { type: 'string', default: '0' },
});
const [role, where] = positionals;
if ((role !== 'lead' && role !== 'follow') || where === undefined || values.peer === undefined) {
  process.stderr.write(
    'usage: wireguard-psk.mjs lead|follow HOST:PORT --peer PUBLIC_KEY [--interface wg0 …]\n',
  );
  process.exit(2);
}

try {
  await using stack = new AsyncDisposableStack();
  const client = stack.use(await createClient(options));
  const stream = stack.use(await client.open(uris(`wireguard-${values.interface}`)));
  await (role === 'lead' ? lead(stream) : follow(stream));
} catch (error) {
  const remedy = error instanceof KeyStreamError ? `; ${error.remedy}` : '';
  process.stderr.write(`${error.message}${remedy}\n`);
  process.exitCode = 1;
}

async function lead(stream) {
  const server = createServer().listen(addressOf(where));
  await once(server, 'listening');
  process.stderr.write(`waiting for the other end at ${where}\n`);
  const [socket] = await once(server, 'connection');
  server.close();
  // Its end shows in what is read.
  socket.on('error', () => undefined);
  const answers = createInterface({ input: socket })[Symbol.asyncIterator]();
  const times = Number(values.times) || Number.POSITIVE_INFINITY;
  for (let done = 0; done < times; done++) {
    if (done > 0) await pause(Number(values.every) * 1_000);
    await change(stream, socket, answers);
  }
  socket.end();
}

/** One new key at both ends, or an error with the old one still in use here. */
async function change(stream, socket, answers) {
  for (let i = 0; i < TRIES; i++) {
    using key = await stream.next();
    socket.write(`${key.index}\n`);
    const limit = pause(ANSWER_LIMIT_MS, { value: undefined }, { ref: false });
    const { value } = await Promise.race([answers.next(), limit]);
    if (value === undefined) throw new Error('the other end has gone, or does not answer');
    if (value === `set ${key.index}`) return setPresharedKey(key);
  }
  throw new Error(`the other end got none of ${TRIES} keys`);
}

async function follow(stream) {
  const socket = await reach(addressOf(where));
  for await (const line of createInterface({ input: socket })) {
    const index = Number(line);
    try {
      using key = await stream.at(index);
      await setPresharedKey(key);
      socket.write(`set ${index}\n`);
    } catch (error) {
      // Gone at this end: the leading end tries another.
      if (!(error instanceof KeyStreamError) || error.code !== 'INSUFFICIENT_KEY') throw error;
      socket.write(`not ${index}\n`);
    }
  }
  process.stderr.write('the leading end has gone\n');
}

/** The leading end, which may not listen yet. */
async function reach(address) {
  for (let waitedMs = 0; ; waitedMs += 200) {
    const socket = connect(address);
    try {
      await once(socket, 'connect');
      // Its end shows in what is read.
      return socket.on('error', () => undefined);
    } catch (error) {
      if (waitedMs >= REACH_LIMIT_MS) throw error;
      await pause(200);
    }
  }
}

async function setPresharedKey({ index, key }) {
  const { interface: name, peer } = values;
  const running = promisify(execFile)('sh', ['-c', SET, 'wg', name, peer]);
  running.child.stdin.end(`${key.expose().toString('base64')}\n`);
  await running;
  process.stdout.write(`${name}: preshared key ${index} is set\n`);
}
