import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { CallContext } from 'nice-grpc';
import { asBuffer } from '#common/crypto/bytes.ts';
import { errorOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type ErrorReason, STATUS_TABLE } from '#common/errors/status-table.ts';
import type { Log } from '#common/log/log.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { QkdFetch, QkdFetched, QkdSourceServiceImplementation } from '#gen/keyweave/v1/qkd_source.ts';
import type { QkdDriver } from '../../services/qkd-source/drivers/qkd-driver.ts';
import { createQkdSourceService } from '../../services/qkd-source/service.ts';

export const KSID = Buffer.from('11111111111141118111111111111111', 'hex');
export const OPEN = {
  keyStreamId: KSID,
  epoch: 0,
  sourceNode: 'AAAAAAAA-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
  destinationNode: 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',
  keyBytes: 32,
  qkdKeyStreamId: '',
};
export const FETCH = {
  keyStreamId: KSID,
  epoch: 0,
  position: 0n,
  count: 2,
  keyBytes: 32,
  qkdKeyStreamId: 'kme-1',
  keyNames: [] as Uint8Array[],
};
export const CONTEXT = { signal: new AbortController().signal } as CallContext;

export type Fetch = QkdDriver['fetch'];

/** Keys that tell from which position on they were read. */
export const soundKeys: Fetch = async (_, first, count, keyBytes) => {
  const keys = randomBytes(count * keyBytes);
  keys[0] = Number(first) + 1;
  return keys;
};

export function service(fetch: Fetch = soundKeys, change: Partial<QkdDriver> = {}, log: Log = silentLog) {
  const opened: Parameters<QkdDriver['open']>[0][] = [];
  const closed: string[] = [];
  const driver: QkdDriver = {
    open: async (stream) => {
      opened.push(stream);
      return `kme-${opened.length}`;
    },
    fetch,
    close: async (handle) => {
      closed.push(handle);
    },
    blockBytes: 0,
    learn: async () => undefined,
    stop: () => undefined,
    ...change,
  };
  return { opened, closed, service: createQkdSourceService({ driver, nodeUuid: OPEN.sourceNode, log }) };
}

/** The keys of one fetch; its failure is thrown. */
export async function fetchOne(qkd: QkdSourceServiceImplementation, fetch: QkdFetch): Promise<Buffer> {
  const { results = [] } = await qkd.fetchKeys({ fetches: [fetch] }, CONTEXT);
  const [result] = results as QkdFetched[];
  if (!result) throw new Error('no result');
  if (result.failure) throw errorOf(result.failure);
  return asBuffer(result.keys);
}

export const fails = (reason: ErrorReason) => async (): Promise<Buffer> => {
  assert.ok(reason in STATUS_TABLE);
  throw new KeyweaveError(reason, 'as the test says');
};
export const outOfStep = (error: unknown) => isReason(error, 'QKD_OUT_OF_STEP');
