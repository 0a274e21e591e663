import { connect, type Socket } from 'node:net';
import type { Address } from '#common/config/fields.ts';

/** What all connections of the process are read into, one after the other, so that reading allocates nothing. */
const READ_BUFFER = Buffer.allocUnsafeSlow(65_536);

/**
 * A lean client of the JSON API: one request under way, answers cut by
 * counting braces in keys-and-numbers JSON, no parsing beyond what is compared.
 */
export class LoadClient {
  readonly #socket: Socket;
  #answered: ((answer: string) => void) | undefined;
  #failed: ((error: Error) => void) | undefined;
  #text = '';

  private constructor(address: Address, connected: (client: LoadClient) => void) {
    this.#socket = connect({
      ...address,
      noDelay: true,
      onread: {
        buffer: READ_BUFFER,
        callback: (length) => {
          this.#receive(READ_BUFFER.toString('latin1', 0, length));
          return true;
        },
      },
    });
    this.#socket.once('connect', () => connected(this));
    this.#socket.on('error', (error) => this.#failed?.(error));
    this.#socket.on('close', () => this.#failed?.(new Error('connection closed')));
  }

  static connect(address: Address): Promise<LoadClient> {
    return new Promise((resolve, reject) => {
      new LoadClient(address, resolve).#failed = reject;
    });
  }

  /** Sends a request; gives the text of its answer. */
  request(text: string): Promise<string> {
    return new Promise((resolve, reject) => this.ask(text, resolve, reject));
  }

  /** The same without a promise. */
  ask(text: string, answered: (answer: string) => void, failed: (error: Error) => void): void {
    this.#answered = answered;
    this.#failed = failed;
    this.#socket.write(text, 'latin1');
  }

  close(): void {
    this.#failed = undefined;
    this.#socket.destroy();
  }

  #receive(data: string): void {
    const text = this.#text === '' ? data : this.#text + data;
    // An answer ends where its braces balance; the strings in ours hold balanced ones only.
    if (!text.endsWith('}') || !isBalanced(text)) {
      this.#text = text;
      return;
    }
    this.#text = '';
    this.#answered?.(text);
  }
}

export function isBalanced(text: string): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x7b) depth++;
    else if (code === 0x7d) depth--;
  }
  return depth === 0;
}

/** The part of a GET_KEY answer that both ends must share: the key and its index. */
export function comparable(answer: string): string {
  const end = answer.indexOf(',"metadata"');
  return end < 0 ? answer : answer.slice(0, end);
}
