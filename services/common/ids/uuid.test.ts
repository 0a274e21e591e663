import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isReason } from '#common/errors/keyweave-error.ts';
import { UUID, uuidText } from '#common/ids/uuid.ts';

describe('uuidText', () => {
  it('writes 16 bytes in network order', () => {
    const bytes = Uint8Array.from({ length: 16 }, (_, i) => 0x10 + i);
    assert.equal(uuidText('stream', bytes), '10111213-1415-1617-1819-1a1b1c1d1e1f');
  });

  it('refuses any other number of bytes by name', () => {
    for (const length of [0, 15, 17])
      assert.throws(
        () => uuidText('key_stream_id', new Uint8Array(length)),
        (error: Error) => isReason(error, 'BAD_REQUEST') && /key_stream_id must be 16/.test(error.message),
      );
  });
});

describe('the pattern of a UUID', () => {
  const valid = '10111213-1415-1617-1819-1a1b1c1d1e1f';

  it('is of 32 hexadecimal digits in five groups, in lower case, and nothing beside them', () => {
    assert.match(valid, UUID);
    for (const text of [
      '',
      valid.toUpperCase(),
      ` ${valid}`,
      `${valid}\n`,
      valid.slice(1),
      `${valid}0`,
      valid.replaceAll('-', ''),
      `{${valid}}`,
      valid.replace('1', 'g'),
    ])
      assert.doesNotMatch(text, UUID, JSON.stringify(text));
  });

  it('stands in one file of the services and of what issues certificates', () => {
    const root = fileURLToPath(new URL('../../../', import.meta.url));
    const files = ['services', 'certs'].flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
        .filter(
          (path) => path.endsWith('.ts') && !path.endsWith('.test.ts') && !path.includes('node_modules'),
        )
        .map((path) => join(folder, path)),
    );
    const holders = files.filter((path) => /0-9a-f\]\{8\}/i.test(readFileSync(join(root, path), 'utf8')));
    assert.deepEqual(holders, ['services/common/ids/uuid.ts']);
  });
});
