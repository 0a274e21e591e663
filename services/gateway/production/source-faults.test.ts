import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { LogFields } from '#common/log/log.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { keyStream } from '#test/helpers/streams.ts';
import { SourceFaults } from './source-faults.ts';

describe('SourceFaults', () => {
  it('counts and logs batches that a faulty source has spoilt, and no other failure', () => {
    const logged: (LogFields | undefined)[] = [];
    const faults = new SourceFaults({
      ...silentLog,
      error: (_message, fields) => {
        logged.push(fields);
      },
    });
    const stream = keyStream();
    faults.dropped(stream, 4, 1, new KeyweaveError('SOURCE_FAULT', 'all keys are zero'));
    faults.dropped(stream, 5, 1, new KeyweaveError('QKD_UNAVAILABLE', 'no key'));
    assert.equal(faults.total, 1);
    faults.dropped(stream, 8, 1, new KeyweaveError('SOURCE_FAULT', 'a key came twice'));
    assert.equal(faults.total, 2);
    const sources = 'ML-KEM-768, QKD';
    assert.deepEqual(logged, [
      { ksid: stream.id, first: 4, sources, detail: 'all keys are zero' },
      { ksid: stream.id, first: 8, sources, detail: 'a key came twice' },
    ]);
  });
});
