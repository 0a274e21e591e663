import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readPsk } from '#common/crypto/psk-file.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-psk-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, 'a.psk');

function read(text: string): string {
  writeFileSync(path, text);
  return readPsk(path).expose().toString('hex');
}

describe('a file of a pre-shared key', () => {
  it('has 16 to 64 bytes in hexadecimal, in letters of either case, and blanks at its end', () => {
    for (const text of ['00'.repeat(16), '09afAF0123456789'.repeat(8), 'c0'.repeat(33)]) {
      for (const end of ['', '\n', ' \t\r\n\n']) assert.equal(read(`${text}${end}`), text.toLowerCase());
    }
  });

  it('is refused where it has anything else, and not quoted', () => {
    for (const text of [
      '',
      '\n',
      'ab'.repeat(15),
      'ab'.repeat(65),
      `${'ab'.repeat(16)}a`,
      `${'ab'.repeat(16)}g0`,
      ` ${'ab'.repeat(16)}`,
      `${'ab'.repeat(8)}\n${'ab'.repeat(8)}`,
      `0x${'ab'.repeat(16)}`,
      '@'.repeat(32),
      '`'.repeat(32),
      'ab'.repeat(1_000_000),
    ]) {
      assert.throws(
        () => read(text),
        (error) =>
          error instanceof KeyweaveError && !/abab/.test(error.detail) && error.detail.includes(path),
        text.slice(0, 40),
      );
    }
  });
});
