import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { type LocalNode, openData, twoNodes } from '../helpers/network.ts';

/** What the reference's clients read of an answer, in one call. */
const READ_BYTES = 65_057;

const { alice, bob } = await twoNodes();

interface Answer {
  status: number;
  message: string;
  key_stream_id?: string;
  key_buffer?: number[];
}

/** One send and one read, which is taken for the whole answer. */
class OneReadClient {
  readonly #socket: Socket;
  #received: ((text: string) => void) | undefined;

  constructor({ json }: LocalNode) {
    this.#socket = connect({
      ...json,
      onread: {
        buffer: Buffer.alloc(READ_BYTES),
        callback: (length, buffer) => {
          this.#received?.(Buffer.from(buffer.subarray(0, length)).toString());
          return true;
        },
      },
    });
    this.#socket.on('error', () => this.#received?.(''));
  }

  async call(command: string, data: object): Promise<Answer> {
    const read = new Promise<string>((resolve) => {
      this.#received = resolve;
    });
    this.#socket.write(JSON.stringify({ command, data }));
    return JSON.parse(await read) as Answer;
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** The reference's driver: OPEN_CONNECT, one GET_KEY, CLOSE, over one connection. */
async function drive(node: LocalNode, request: object): Promise<{ ksid: string; key: Buffer }> {
  const client = new OneReadClient(node);
  const opened = await client.call('OPEN_CONNECT', request);
  assert.equal(opened.status, 0, opened.message);
  const { key_stream_id } = opened;
  const metadata = { size: 46, buffer: 'The metadata field is not used for the moment.' };
  const got = await client.call('GET_KEY', { key_stream_id, index: 0, metadata });
  assert.equal(got.status, 0, got.message);
  const closed = await client.call('CLOSE', { key_stream_id });
  assert.equal(closed.status, 0, closed.message);
  client.close();
  return { ksid: key_stream_id ?? '', key: Buffer.from(got.key_buffer ?? []) };
}

async function driveBoth(count: number, request: object, keyBytes: number): Promise<void> {
  const ends = await Promise.all(
    [alice, bob].map((node) => Promise.all(Array.from({ length: count }, () => drive(node, request)))),
  );
  const [atA, atB] = ends.map((drivers) => new Map(drivers.map(({ ksid, key }) => [ksid, key])));
  assert.equal(atA?.size, count);
  assert.deepEqual(atA, atB);
  const keys = new Set([...(atA?.values() ?? [])].map((key) => key.toString('hex')));
  assert.equal(keys.size, count);
  for (const key of keys) assert.equal(key.length, keyBytes * 2);
}

describe("the reference's driver and bulk driver, as they are", () => {
  const [method, kem] = ['xoring', 'ML-KEM-768'];
  for (const count of [1, 10, 100]) {
    it(`get equal keys at both nodes, ${count} at once`, async () => {
      const request = openData(alice, bob, `hybridization=${method}&kem_mec=${kem}`);
      await driveBoth(count, request, 32);
    });
  }

  it('read the largest key whole in their one read', async () => {
    const request = openData(alice, bob, 'hybridization=hkdf-sha384&key_sources=ML-KEM-768,QKD', {
      key_chunk_size: 255 * 48,
    });
    await driveBoth(3, request, 255 * 48);
  });
});
