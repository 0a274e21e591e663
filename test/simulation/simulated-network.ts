import { Metadata } from 'nice-grpc';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import {
  KeyAgreementDefinition,
  type KeyAgreementServiceImplementation,
} from '#gen/keyweave/v1/key_agreement.ts';
import type { Prng } from './prng.ts';
import type { SimulatedProcess, SimulatedTime } from './simulated-time.ts';

const METHODS = ['open', 'join', 'produce', 'confirm', 'demand', 'close'] as const;
export type Method = (typeof METHODS)[number];

type Handler = (request: unknown, context: unknown) => Promise<unknown>;

/** How one direction of a link behaves at the moment. */
export interface LinkWeather {
  /** Mean delay of a message, milliseconds. */
  delayMs: number;
  /** Probabilities, for each message. */
  loss: number;
  duplication: number;
  /** A message that is held up long enough for others to overtake it. */
  straggle: number;
  /** Nothing gets through; who calls is told at once, or learns it by waiting. */
  cut: 'no' | 'refused' | 'silent';
}

/** What a lying node makes of a message, before it is sent on; the same object where it does not lie about it. */
export type Lie = (method: Method, message: unknown, way: 'request' | 'response') => unknown;

export const FAIR_WEATHER: Readonly<LinkWeather> = {
  delayMs: 2,
  loss: 0,
  duplication: 0,
  straggle: 0,
  cut: 'no',
};

const STRAGGLE_MS = 4_000;

/** One gateway that others can reach. */
interface Reachable {
  readonly process: SimulatedProcess;
  /** The broker may be away while its gateway is well. */
  readonly broker: SimulatedProcess;
  readonly service: KeyAgreementServiceImplementation;
}

interface Codec {
  readonly requestType: MessageCodec;
  readonly responseType: MessageCodec;
}

interface MessageCodec {
  encode(message: unknown): { finish(): Uint8Array };
  decode(bytes: Uint8Array): unknown;
  fromPartial(message: unknown): unknown;
}

/**
 * What lies between gateways: peer-brokers and the lines between them, as what
 * they may do to messages. Every message crosses as bytes, so that nobody
 * shares memory with anybody.
 */
export class SimulatedNetwork {
  readonly #time: SimulatedTime;
  readonly #random: Prng;
  readonly #nodes = new Map<string, Reachable>();
  readonly #weather = new Map<string, LinkWeather>();
  readonly #lies = new Map<string, Lie>();
  readonly #note: (line: string) => void;

  /** @param note learns every message, so that two runs can be compared. */
  constructor(time: SimulatedTime, random: Prng, note: (line: string) => void) {
    this.#time = time;
    this.#random = random;
    this.#note = note;
  }

  serve(node: string, reachable: Reachable): void {
    this.#nodes.set(node, reachable);
  }

  weather(from: string, to: string): LinkWeather {
    const key = `${from}>${to}`;
    let weather = this.#weather.get(key);
    if (!weather) {
      weather = { ...FAIR_WEATHER };
      this.#weather.set(key, weather);
    }
    return weather;
  }

  /** From now on `node` lies, or, without a lie, does so no longer. */
  setLie(node: string, lie: Lie | undefined): void {
    if (lie) this.#lies.set(node, lie);
    else this.#lies.delete(node);
  }

  /** The own broker as the gateway of `from` sees it: a client of KeyAgreement. */
  brokerOf(from: string, caller: SimulatedProcess, broker: SimulatedProcess): Record<Method, Handler> {
    const client = {} as Record<Method, Handler>;
    for (const method of METHODS) {
      client[method] = (request, options) => {
        const { timeoutMs, metadata } = options as { timeoutMs: number; metadata: Metadata };
        const to = metadata.get(PEER_METADATA) ?? '';
        if (!broker.alive) return Promise.reject(new KeyweaveError('SERVICE_UNAVAILABLE', 'no broker'));
        return this.#call({ from, to, caller, method, timeoutMs }, request);
      };
    }
    return client;
  }

  #call(
    call: { from: string; to: string; caller: SimulatedProcess; method: Method; timeoutMs: number },
    request: unknown,
  ): Promise<unknown> {
    const { from, to, caller, method, timeoutMs } = call;
    const { requestType, responseType } = codecOf(method);
    const answered = Promise.withResolvers<unknown>();
    const timer = this.#time.at(
      this.#time.nowMs + timeoutMs,
      () => answered.reject(new KeyweaveError('TIMEOUT', 'the call was not answered in time')),
      caller,
    );
    const finish = (settle: () => void) => {
      if (!caller.alive) return;
      timer.cancel();
      settle();
    };
    const lost = () => {
      const silent = this.weather(from, to).cut === 'silent' || this.#random.chance(0.5);
      const error = new KeyweaveError('PEER_UNREACHABLE', `the connection to node ${to} broke`);
      if (!silent) this.#time.at(this.#time.nowMs + 5, () => finish(() => answered.reject(error)), caller);
    };
    const told = this.#lied(from, method, requestType.fromPartial(request), 'request');
    const bytes = requestType.encode(told).finish().slice();
    this.#send(from, to, method, lost, async (isFirst) => {
      const target = this.#nodes.get(to);
      if (!target?.process.alive || !target.broker.alive) {
        if (isFirst) lost();
        return;
      }
      const lent = bytes.slice();
      const outcome = await this.#handle(target, from, method, requestType.decode(lent));
      if (!isFirst || outcome === undefined) {
        lent.fill(0xee);
        return;
      }
      const reply =
        outcome instanceof KeyweaveError
          ? outcome
          : responseType
              .encode(this.#lied(to, method, responseType.fromPartial(outcome), 'response'))
              .finish()
              .slice();
      // A message is lent for the call alone: whoever keeps a piece of it without a copy finds this.
      lent.fill(0xee);
      this.#send(to, from, `${method} answer`, lost, () => {
        finish(() => {
          if (reply instanceof KeyweaveError) answered.reject(new KeyweaveError(reply.reason, reply.detail));
          else answered.resolve(responseType.decode(reply));
        });
      });
    });
    return answered.promise;
  }

  /** What the gateway answers or refuses with; undefined where it has died over it. */
  async #handle(target: Reachable, from: string, method: Method, request: unknown): Promise<unknown> {
    const context = { metadata: Metadata({ [PEER_METADATA]: from }), signal: new AbortController().signal };
    try {
      const answer = await (target.service[method] as unknown as Handler)(request, context);
      return target.process.alive ? answer : undefined;
    } catch (thrown) {
      return target.process.alive ? KeyweaveError.from(thrown) : undefined;
    }
  }

  #lied(node: string, method: Method, message: unknown, way: 'request' | 'response'): unknown {
    const lie = this.#lies.get(node);
    return lie ? lie(method, message, way) : message;
  }

  #send(
    from: string,
    to: string,
    what: string,
    lost: () => void,
    arrive: (isFirst: boolean) => void | Promise<void>,
  ): void {
    const weather = this.weather(from, to);
    if (weather.cut !== 'no' || this.#random.chance(weather.loss)) {
      lost();
      return;
    }
    const copies = this.#random.chance(weather.duplication) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const straggles = this.#random.chance(weather.straggle);
      const delayMs =
        this.#random.exponential(weather.delayMs) + (straggles ? this.#random.exponential(STRAGGLE_MS) : 0);
      this.#time.at(this.#time.nowMs + delayMs, () => {
        this.#note(`${from.slice(0, 2)}>${to.slice(0, 2)} ${what}`);
        void arrive(copy === 0);
      });
    }
  }
}

function codecOf(method: Method): Codec {
  return KeyAgreementDefinition.methods[method] as unknown as Codec;
}
