import { connect, type Socket } from 'node:net';
import type { Address } from '#common/config/fields.ts';

/**
 * A lean client of the JSON API: one request under way, answers cut by
 * counting braces in keys-and-numbers JSON, no parsing beyond what is compared.
 */
export class LoadClient {
  readonly #socket: Socket;
  #waiting: ((answer: string) => void) | undefined;
  #failed: ((error: Error) => void) | undefined;
  #text = '';

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding('latin1');
    socket.on('data', (data: string) => this.#receive(data));
    socket.on('error', (error) => this.#failed?.(error));
    socket.on('close', () => this.#failed?.(new Error('connection closed')));
  }

  static connect({ host, port }: Address): Promise<LoadClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, host, () => resolve(new LoadClient(socket)));
      socket.once('error', reject);
    });
  }

  /** Sends a request; gives the text of its answer. */
  request(text: string): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#waiting = resolve;
      this.#failed = reject;
      this.#socket.write(text);
    });
  }

  close(): void {
    this.#failed = undefined;
    this.#socket.destroy();
  }

  #receive(data: string): void {
    this.#text += data;
    // An answer ends where its braces balance; the strings in ours hold balanced ones only.
    if (!this.#text.endsWith('}')) return;
    let depth = 0;
    for (let i = 0; i < this.#text.length; i++) {
      const code = this.#text.charCodeAt(i);
      if (code === 0x7b) depth++;
      else if (code === 0x7d) depth--;
    }
    if (depth !== 0) return;
    const answer = this.#text;
    this.#text = '';
    this.#waiting?.(answer);
  }
}

/** The part of a GET_KEY answer that both ends must share: the key and its index. */
export function comparable(answer: string): string {
  const end = answer.indexOf(',"metadata"');
  return end < 0 ? answer : answer.slice(0, end);
}
