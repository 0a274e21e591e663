import assert from 'node:assert/strict';
import { syncBuiltinESMExports } from 'node:module';
import { afterEach, beforeEach, mock } from 'node:test';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { JSON_DIALECT } from '../../services/qkd-source/drivers/etsi004/etsi004-json.ts';
import type { KmeConnections } from '../../services/qkd-source/drivers/etsi004/kme-connections.ts';
import { KmeLearning } from '../../services/qkd-source/drivers/etsi004/kme-learning.ts';
import { PipelineWindow } from '../../services/qkd-source/drivers/etsi004/pipeline-window.ts';

export const BETWEEN = { sourceNode: 'node-a', destinationNode: 'node-b' };
export const REFUSED = { status: 3, message: 'unknown stream' };
export const SECRET = Array.from({ length: 64 }, (_, i) => i + 1);
/** An answer that never comes. */
export const NONE = Symbol();
/** The connection ends instead. */
export const CUT = Symbol();

export interface Request {
  readonly command: string;
  readonly data: {
    readonly key_stream_id: string;
    readonly index: number;
    readonly source: string;
    readonly destination: string;
    readonly qos: { readonly key_chunk_size: number; readonly timeout: number };
  };
}

/** What the key manager answers to the requests of one piece, in order. */
export type Answers = (requests: readonly Request[]) => readonly unknown[];

/** Refuses streams that nobody has opened, and gives keys of whatever size to those that somebody has. */
export function sound(): Answers {
  const open = new Set<string>();
  return (requests) =>
    requests.map(({ command, data }) => {
      if (command === 'OPEN_CONNECT') {
        const handle = `kme-${data.qos.key_chunk_size}`;
        open.add(handle);
        return { status: 0, key_stream_id: handle };
      }
      if (command === 'CLOSE') return { status: open.delete(data.key_stream_id) ? 0 : 5 };
      return open.has(data.key_stream_id) ? { status: 0, key_buffer: [...SECRET] } : REFUSED;
    });
}

/** Timers stand still in the tests of this file, but for what `learn` lets pass. */
export function mockTimers(): void {
  beforeEach(() => {
    mock.timers.enable({ apis: ['setTimeout'] });
    // For the pauses that come from node:timers/promises.
    syncBuiltinESMExports();
  });
  afterEach(() => {
    mock.timers.reset();
    syncBuiltinESMExports();
  });
}

/** A learner, and a key manager of the test's own behind connections that are none. */
export function learner(answers: Answers, change: object = {}) {
  const seen: Request[][] = [];
  const lines: { message: string; why: unknown }[] = [];
  const state = {
    answers,
    failure: new KeyweaveError('QKD_UNAVAILABLE', 'as the test says') as Error,
    reachable: true,
    staysOpen: true,
    open: 0,
    dialled: 0,
    nowMs: 0,
  };
  const window = new PipelineWindow();
  const connection = () => ({
    requestTogether: (payloads: readonly Buffer[]) => {
      const requests = payloads.map((payload) => JSON.parse(payload.toString()) as Request);
      seen.push(requests);
      const given = state.answers(requests);
      return requests.map((_, i) => {
        if (given[i] === NONE || i >= given.length) return new Promise(() => undefined);
        return given[i] === CUT ? Promise.reject(new Error('cut')) : Promise.resolve(given[i]);
      });
    },
    destroy: () => {
      state.open -= 1;
    },
  });
  const connections = {
    window,
    fresh: async () => {
      state.dialled += 1;
      if (!state.reachable) throw state.failure;
      state.open += 1;
      return connection();
    },
    staysOpen: async () => state.staysOpen,
  } as unknown as KmeConnections<unknown>;
  const said = (message: string, fields: { why?: unknown } = {}) =>
    void lines.push({ message, why: fields.why });
  const settings = nodeConfigSchema.shape.qkd.parse(change);
  const learning = new KmeLearning({
    dialect: JSON_DIALECT,
    connections,
    settings,
    log: { ...silentLog, info: said, warning: said },
    now: () => state.nowMs,
  });
  /** Lets the timers of a probe run out, 50 ms at a time. */
  const learn = async (between?: typeof BETWEEN) => {
    let isDone = false;
    let tookMs = 0;
    const done = learning.learn(between).then(() => {
      isDone = true;
    });
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (isDone) break;
      mock.timers.tick(50);
      tookMs += 50;
    }
    await done;
    assert.equal(state.open, 0, 'a connection of a probe was left open');
    return tookMs;
  };
  const said1 = (words: RegExp) =>
    lines.filter(({ message, why }) => words.test(`${message}: ${String(why)}`)).length;
  return { learning, learn, window, seen, lines, state, said: said1 };
}

/** The requests of the pieces that were sent, by command and size. */
export const calls = (seen: readonly (readonly Request[])[]) =>
  seen.flat().map(({ command, data }) => `${command} ${data.qos?.key_chunk_size ?? data.key_stream_id}`);
