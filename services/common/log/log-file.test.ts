import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { LogFile } from '#common/log/log-file.ts';

let folder: string;
let told: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyweave-log-file-'));
  told = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (path: string) =>
  new LogFile(path, { onTrouble: (message, fields) => told.push(`${message} ${JSON.stringify(fields)}`) });

describe('LogFile', () => {
  it('appends, in a folder that it makes, beside others that do', () => {
    const path = join(folder, 'deep', 'down', 'a.log');
    const [one, other] = [open(path), open(path)];
    one.write('1\n');
    other.write('2\n');
    one.write('3\n');
    assert.equal(readFileSync(path, 'utf8'), '1\n2\n3\n');
  });

  it('goes on in a new file once it is opened anew, and in the old one until then', () => {
    const path = join(folder, 'a.log');
    const file = open(path);
    file.write('1\n');
    renameSync(path, `${path}.1`);
    file.write('2\n');
    assert.equal(file.reopen(), true);
    file.write('3\n');
    assert.equal(readFileSync(`${path}.1`, 'utf8'), '1\n2\n');
    assert.equal(readFileSync(path, 'utf8'), '3\n');
  });

  it('stays with the old file where the new one cannot be opened, and says so', () => {
    const path = join(folder, 'a.log');
    const file = open(path);
    renameSync(path, `${path}.1`);
    mkdirSync(path);
    assert.equal(file.reopen(), false);
    file.write('1\n');
    assert.equal(readFileSync(`${path}.1`, 'utf8'), '1\n');
    assert.deepEqual(told, [
      `the log file could not be opened anew, the old one stays {"path":${JSON.stringify(path)},"code":"EISDIR"}`,
    ]);
  });

  it('loses lines where the disk is full, and says so once, not at every line', () => {
    const file = open('/dev/full');
    for (let i = 0; i < 5; i++) file.write('x\n');
    assert.deepEqual(told, [
      'log lines are lost: the file cannot be written {"path":"/dev/full","code":"ENOSPC"}',
    ]);
  });

  it('that cannot be opened is an error of the configuration, by path and cause', () => {
    assert.throws(() => open(folder), {
      reason: 'BAD_CONFIG',
      detail: `logging_config.filename: ${folder} cannot be written (EISDIR)`,
    });
  });
});
