import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';
import { type JsonAnswer, parseJsonAnswer } from '#common/etsi/etsi004-json-codec.ts';
import { JsonFramer } from '#common/etsi/json-framer.ts';
import { keyIn } from '../helpers/delivery-history.ts';
import { edited } from '../helpers/message-edits.ts';
import { waitedMs } from '../helpers/proc.ts';
import type { ClientPlan, Step, StreamReference } from './conversation-plans.ts';
import type { PlannedStream, World } from './world.ts';

/** Limits that the nodes under test are configured with, milliseconds. */
export const LIMITS = {
  timeoutMs: 1_000,
  longestTimeoutMs: 10_000,
  requestMs: 2_000,
  idleMs: 3_000,
} as const;

/** Longest timeout that a conversation asks for, unless something in it changes what is asked. */
const ASKED_TIMEOUT_MS = 1_500;

/** What an answer, or the end of a connection, may come later than its limit says. */
const MARGIN_MS = 1_500;

/** An application does nothing new after this. */
const PATIENCE_MS = 2_500;

/** How often time is counted. */
const TICK_MS = 50;

/** A longer one ends the connection. */
const LARGEST_REQUEST_BYTES = 65_536;

const FLOOD_MS = 1_000;
const FLOOD_BYTES = 8_000_000;

interface Asked {
  readonly what: 'open' | 'get' | 'close';
  readonly ksid: string;
  readonly sentMs: number;
  /** From the answer before it. */
  readonly limitMs: number;
}

/**
 * One connection of an application that does as it likes. Whatever it sends
 * that can be read must be answered in order and in time; what can not must
 * be answered or end the connection.
 */
export class HostileApplication {
  readonly #plan: ClientPlan;
  readonly #world: World;
  readonly #stream: PlannedStream;
  readonly #end: 0 | 1;
  readonly #name: string;
  readonly #framer = new JsonFramer({ maxBytes: 1_048_576 });
  readonly #asked: Asked[] = [];
  readonly #untilMs = Date.now() + PATIENCE_MS;
  #socket!: Socket;
  #unsent: Buffer[] = [];
  /** Something was sent that may bring any number of answers, or the end. */
  #spoilt = false;
  #closed = false;
  /** When something was last sent or received. */
  #lastMs = Date.now();
  /** Time in which this process and the node's gateway were run, milliseconds, and as it was at the last answer. */
  #ranMs = 0;
  #ranAtAnswerMs = 0;

  constructor(plan: ClientPlan, world: World) {
    this.#plan = plan;
    this.#world = world;
    this.#stream = world.stream(plan.stream);
    this.#end = plan.side;
    const { from, to } = this.#stream.plan;
    this.#name = world.nodes[plan.side === 0 ? from : to]?.name ?? '';
  }

  /** Does all that is planned; faults are noted in the world. */
  async run(): Promise<void> {
    const { host, port } = this.#world.nodes.find(({ name }) => name === this.#name)?.json ?? {};
    this.#socket = connect(port ?? 0, host);
    await once(this.#socket, 'connect');
    this.#socket.setNoDelay(true);
    this.#socket.on('data', (data: Buffer) => this.#receive(data));
    this.#socket.on('error', () => undefined);
    this.#socket.once('close', () => {
      this.#closed = true;
    });
    const counting = this.#countTime();
    try {
      for (const step of this.#plan.steps) {
        if (this.#closed || this.#isTired()) break;
        await this.#do(step);
      }
      await this.#finish();
    } finally {
      clearInterval(counting);
      this.#socket.destroy();
    }
  }

  #isTired(): boolean {
    return Date.now() > this.#untilMs;
  }

  /** Limits are of the time in which something could have been done: a busy machine is no fault of the node. */
  #countTime(): NodeJS.Timeout {
    const pids = [this.#world.nodes.find(({ name }) => name === this.#name)?.services.gateway?.pid ?? 0];
    let [lastMs, lastWaitedMs] = [Date.now(), waitedMs(pids)];
    return setInterval(() => {
      const [nowMs, nowWaitedMs] = [Date.now(), waitedMs(pids)];
      this.#ranMs += Math.max(0, Math.min(2 * TICK_MS, nowMs - lastMs) - (nowWaitedMs - lastWaitedMs));
      [lastMs, lastWaitedMs] = [nowMs, nowWaitedMs];
    }, TICK_MS);
  }

  /** Waits until `done`, or `limitMs` of counted time are over, or the connection is; whether it was done. */
  async #within(limitMs: number, done: () => boolean): Promise<boolean> {
    for (const from = this.#ranMs; !done() && !this.#closed && this.#ranMs - from < limitMs; )
      await pause(TICK_MS / 2);
    return done();
  }

  async #do(step: Step): Promise<void> {
    switch (step.do) {
      case 'open':
        return this.#open(step);
      case 'get': {
        const ksid = await this.#ksid(step.of);
        const { index, metadata } = step;
        const data = {
          key_stream_id: ksid,
          ...(index !== undefined && { index }),
          ...(metadata !== undefined && { metadata }),
        };
        for (let i = 0; i < step.times; i++) await this.#ask('get', ksid, { command: 'GET_KEY', data });
        return;
      }
      case 'close': {
        const ksid = await this.#ksid(step.of);
        return this.#ask('close', ksid, { command: 'CLOSE', data: { key_stream_id: ksid } });
      }
      case 'junk':
        this.#spoilt = true;
        return this.#send(Buffer.from(step.text));
      case 'large':
        this.#spoilt = true;
        return this.#send(
          Buffer.from(JSON.stringify({ command: 'CLOSE', data: { key_stream_id: 'x'.repeat(step.bytes) } })),
        );
      case 'answers':
        return this.#answers();
      case 'wait':
        await pause(step.ms);
    }
  }

  async #open({ edit, named }: Extract<Step, { do: 'open' }>): Promise<void> {
    const { source, destination, plan, ksid } = this.#stream;
    const own = plan.predefined ? ksid : undefined;
    const key_stream_id = named ? this.#world.ksid(named, this.#stream) : own;
    const request = {
      command: 'OPEN_CONNECT',
      data: { source, destination, qos: plan.qos, ...(key_stream_id !== undefined && { key_stream_id }) },
    };
    await this.#ask('open', key_stream_id ?? '', edit ? edited(request, [edit]) : request);
  }

  /** The KSID of the own stream is known once its OPEN_CONNECT is answered. */
  async #ksid(reference: StreamReference): Promise<string> {
    if (this.#asked.some(({ what }) => what === 'open')) await this.#answers();
    return this.#world.ksid(reference, this.#stream);
  }

  async #ask(what: Asked['what'], ksid: string, request: unknown): Promise<void> {
    const limitMs = (what === 'close' ? 0 : ASKED_TIMEOUT_MS) + MARGIN_MS;
    // On a machine that is busy enough the node may rightly think that nothing comes any more.
    if (Date.now() - this.#lastMs > LIMITS.idleMs - 500) this.#spoilt = true;
    this.#asked.push({ what, ksid, sentMs: Date.now(), limitMs });
    if (this.#asked.length === 1) this.#ranAtAnswerMs = this.#ranMs;
    const bytes = Buffer.from(JSON.stringify(request));
    if (bytes.length > LARGEST_REQUEST_BYTES) this.#spoilt = true;
    await this.#send(bytes);
  }

  async #send(bytes: Buffer): Promise<void> {
    if (this.#closed) return;
    this.#lastMs = Date.now();
    if (this.#plan.sending === 'at once') {
      this.#unsent.push(bytes);
      return;
    }
    if (this.#plan.sending === 'whole' || bytes.length > 1_000) {
      this.#socket.write(bytes);
      return;
    }
    for (let at = 0; at < bytes.length && !this.#closed; at++) {
      this.#socket.write(bytes.subarray(at, at + 1));
      await turn();
    }
  }

  #flush(): void {
    if (this.#unsent.length > 0 && !this.#closed) this.#socket.write(Buffer.concat(this.#unsent));
    this.#unsent = [];
  }

  /** Waits until everything is answered, the connection has ended or patience has; each answer must come in time. */
  async #answers(): Promise<void> {
    this.#flush();
    while (this.#asked.length > 0 && !this.#closed) {
      const { length } = this.#asked;
      const [{ what, limitMs }] = this.#asked as [Asked];
      const left = limitMs - (this.#ranMs - this.#ranAtAnswerMs);
      if (!(await this.#within(left, () => this.#asked.length < length)) && !this.#closed) {
        if (!this.#spoilt && this.#world.timesAreKnown)
          this.#fault(`${what} was not answered within ${limitMs} ms (${this.#plan.end})`);
        return;
      }
      if (this.#isTired()) return;
    }
  }

  #receive(data: Buffer): void {
    this.#lastMs = Date.now();
    for (const frame of this.#framer.push(data)) {
      if (!Buffer.isBuffer(frame)) {
        this.#fault('an answer that is not JSON');
        continue;
      }
      const asked = this.#asked.shift();
      try {
        const answer = parseJsonAnswer(JSON.parse(frame.toString()));
        if (this.#spoilt) this.#world.count(`spoilt: status ${answer.status}`);
        else if (asked) this.#note(asked, answer);
        else this.#fault(`an answer that was not asked for: ${answer.status} ${answer.message}`);
      } catch (error) {
        this.#fault(`an answer that cannot be read: ${error}`);
      }
      this.#ranAtAnswerMs = this.#ranMs;
    }
  }

  #note({ what, ksid, sentMs }: Asked, answer: JsonAnswer): void {
    const { status, message, key_stream_id, qos, key_buffer } = answer;
    this.#world.count(`${what}: status ${status}`);
    if (status !== 0 && message === '') this.#fault(`${what}: status ${status} without a word`);
    if (what === 'open' && key_stream_id !== undefined) {
      this.#stream.ksid = key_stream_id;
      this.#world.chunkBytes.set(key_stream_id, qos?.key_chunk_size ?? 0);
    }
    if (what !== 'get') return;
    const bytes = Array.isArray(key_buffer) ? key_buffer.length : 0;
    this.#world.history.push({
      op: 'GET_KEY',
      application: this.#name,
      ksid,
      end: this.#endOf(ksid),
      sentMs,
      answeredMs: Date.now(),
      status,
      message,
      ...(status === 0 && keyIn(answer, bytes)),
    });
  }

  /** Which end of the stream this application's node is; it may read a stream that is not its own. */
  #endOf(ksid: string): 0 | 1 {
    const stream = this.#world.streams.find((one) => one.ksid === ksid);
    if (!stream) return this.#end;
    return this.#world.nodes[stream.plan.from]?.name === this.#name ? 0 : 1;
  }

  async #finish(): Promise<void> {
    const { end } = this.#plan;
    if (end === 'never reading') return this.#neverRead();
    if (end === 'close') {
      await this.#answers();
      if (this.#isTired()) return;
      const ksid = this.#stream.ksid;
      if (ksid !== undefined && !this.#closed) {
        await this.#ask('close', ksid, { command: 'CLOSE', data: { key_stream_id: ksid } });
        await this.#answers();
      }
    }
    this.#flush();
    if (end === 'reset') {
      this.#socket.resetAndDestroy();
      return;
    }
    if (end === 'half-request') {
      this.#spoilt = true;
      this.#socket.write('{"command":"GET_KEY","data":{');
    } else if (end !== 'silence') this.#socket.end();
    await this.#endsInTime(end);
  }

  /** The node must end the connection: at once where this end has, else when nothing comes any more. */
  async #endsInTime(end: ClientPlan['end']): Promise<void> {
    const { idleMs, requestMs } = LIMITS;
    const limitMs = MARGIN_MS + (end === 'silence' ? idleMs : end === 'half-request' ? requestMs : 0);
    await this.#answers();
    // Answers may take longer than this application has time for; then it goes away without them.
    if (this.#asked.length > 0 && !this.#closed) return;
    await this.#within(limitMs, () => this.#closed);
    if (!this.#closed) this.#fault(`the connection was not ended within ${limitMs} ms of ${end}`);
    else if (this.#asked.length > 0 && !this.#spoilt)
      this.#fault(
        `the connection was ended, after ${end}, with ${this.#asked.length} requests unanswered, the first ${this.#asked[0]?.what}`,
      );
  }

  /** Asks and asks, and looks at no answer. */
  async #neverRead(): Promise<void> {
    this.#socket.pause();
    const requests = this.#floodOf(this.#plan.flood);
    let sent = 0;
    for (const endMs = Date.now() + FLOOD_MS; Date.now() < endMs && sent < FLOOD_BYTES && !this.#closed; ) {
      if (this.#socket.writableLength < 1_000_000) {
        this.#socket.write(requests);
        sent += requests.length;
      }
      await pause(1);
    }
    this.#socket.resetAndDestroy();
  }

  /** About 50 KB of it. */
  #floodOf(flood: ClientPlan['flood']): Buffer {
    const { source, destination, plan } = this.#stream;
    const ksid = this.#world.ksid({ of: 'own' }, this.#stream);
    const one = {
      keys: JSON.stringify({ command: 'GET_KEY', data: { key_stream_id: ksid } }),
      'empty requests': '{}',
      garbage: 'x\n',
      openings: JSON.stringify({ command: 'OPEN_CONNECT', data: { source, destination, qos: plan.qos } }),
    }[flood];
    return Buffer.from(one.repeat(Math.ceil(50_000 / one.length)));
  }

  #fault(what: string): void {
    this.#world.faults.push(`application at ${this.#name}: ${what}`);
  }
}
