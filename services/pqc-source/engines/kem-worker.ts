import * as liboqs from '@oqs/liboqs-js/kem';
import { move, transferableSymbol, valueSymbol } from 'piscina';
import type { WorkerAnswer, WorkerTask } from './kem-worker-task.ts';

interface WasmKem {
  generateKeyPair(): { publicKey: Uint8Array; secretKey: Uint8Array };
  encapsulate(publicKey: Uint8Array): { ciphertext: Uint8Array; sharedSecret: Uint8Array };
  decapsulate(ciphertext: Uint8Array, secretKey: Uint8Array): Uint8Array;
}

type Factory = () => Promise<WasmKem>;

/** Instances by factory name; they live as long as the worker, which an idle pool ends. */
const instances = new Map<string, Promise<WasmKem>>();

function instanceOf(factory: string): Promise<WasmKem> {
  let instance = instances.get(factory);
  if (!instance) {
    instance =
      (liboqs as unknown as Record<string, Factory>)[factory]?.() ?? Promise.reject(new Error('no such KEM'));
    instances.set(factory, instance);
  }
  return instance;
}

/**
 * Runs one batch. The answer's memory moves to the caller, and what the task
 * brought is wiped, so that no copy of a secret stays here.
 */
export default async function run(task: WorkerTask): Promise<unknown> {
  const answer: WorkerAnswer = { first: new Uint8Array(0), second: new Uint8Array(0) };
  try {
    work(await instanceOf(task.factory), task, answer);
  } catch (error) {
    answer.second.fill(0);
    throw error;
  } finally {
    task.first.fill(0);
    task.second.fill(0);
  }
  return move({
    get [transferableSymbol]() {
      return [answer.first.buffer, answer.second.buffer];
    },
    get [valueSymbol]() {
      return answer;
    },
  } as never);
}

/** Fills the answer, which may be half full when this throws. */
function work(kem: WasmKem, task: WorkerTask, answer: WorkerAnswer): void {
  const { count } = task;
  switch (task.operation) {
    case 'generate':
      fillPairs(answer, count, task.publicKeyBytes, task.privateKeyBytes, () => {
        const { publicKey, secretKey } = kem.generateKeyPair();
        return [publicKey, secretKey];
      });
      break;
    case 'encapsulate':
      fillPairs(answer, count, task.ciphertextBytes, task.sharedSecretBytes, (i) => {
        const { ciphertext, sharedSecret } = kem.encapsulate(item(task.first, i, task.publicKeyBytes));
        return [ciphertext, sharedSecret];
      });
      break;
    case 'decapsulate': {
      answer.second = new Uint8Array(count * task.sharedSecretBytes);
      for (let i = 0; i < count; i++) {
        const privateKey = item(task.second, i, task.privateKeyBytes);
        try {
          const secret = kem.decapsulate(item(task.first, i, task.ciphertextBytes), privateKey);
          answer.second.set(secret, i * task.sharedSecretBytes);
          secret.fill(0);
        } finally {
          privateKey.fill(0);
        }
      }
      break;
    }
  }
}

/** Fills the answer with `count` pairs of something public and a secret, which is wiped once it is there. */
function fillPairs(
  answer: WorkerAnswer,
  count: number,
  publicBytes: number,
  secretBytes: number,
  make: (i: number) => readonly [Uint8Array, Uint8Array],
): void {
  const [first, second] = [new Uint8Array(count * publicBytes), new Uint8Array(count * secretBytes)];
  // There before they are filled, so that whoever catches a failure can wipe them.
  answer.first = first;
  answer.second = second;
  for (let i = 0; i < count; i++) {
    const [shown, secret] = make(i);
    first.set(shown, i * publicBytes);
    second.set(secret, i * secretBytes);
    secret.fill(0);
  }
}

/** A copy of its own: the WASM wrapper refuses views of other types, and wiping it must not touch the task. */
function item(packed: Uint8Array, i: number, bytes: number): Uint8Array {
  return new Uint8Array(packed.subarray(i * bytes, (i + 1) * bytes));
}
