import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { LOG_TYPES, type LogType } from '#common/config/node-config.ts';
import { createLogger } from '#common/log/logger.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-log-'));
after(() => rmSync(folder, { recursive: true }));

function lines(consoleType: LogType, fileType: LogType, colorless = true) {
  const filename = join(folder, `${consoleType}-${fileType}-${colorless}.log`);
  const written: string[] = [];
  const log = createLogger({
    service: 'gateway',
    config: {
      console_log_type: consoleType,
      file_log_type: fileType,
      colorless_console_log: colorless,
      filename,
    },
    console: (line) => written.push(line),
  });
  for (const level of ['debug', 'info', 'warning', 'error'] as const) log[level](`a ${level} line`, { n: 1 });
  log.flush();
  const file = fileType === 'none' ? '' : readFileSync(filename, 'utf8');
  return { console: written, file: file.split('\n').filter(Boolean) };
}

describe('createLogger', () => {
  for (const [i, type] of LOG_TYPES.entries()) {
    it(`type ${type} logs that level and the more severe ones, to console and file alike`, () => {
      const expected = ['debug', 'info', 'warning', 'error'].slice(i).map((level) => `a ${level} line`);
      const { console: written, file } = lines(type, type);
      assert.deepEqual(
        written.map((line) => /a \w+ line/.exec(line)?.[0]),
        expected,
      );
      assert.deepEqual(
        file.map((line) => JSON.parse(line).msg),
        expected,
      );
    });
  }

  it('names a stream by the first digits of its KSID, which is a bearer token', () => {
    const written: string[] = [];
    const config = { console_log_type: 'debug', file_log_type: 'none', colorless_console_log: true } as const;
    const log = createLogger({ service: 'gateway', config, console: (line) => written.push(line) });
    log.warning('a batch was dropped', { ksid: '0123abcd-4455-4677-8899-aabbccddeeff', first: 7 });
    assert.match(written[0] ?? '', /ksid="0123abcd" first=7/);
    assert.doesNotMatch(written[0] ?? '', /4455/);
  });

  it('colours the console only when asked', () => {
    assert.ok(lines('info', 'none', false).console.every((line) => line.includes('\x1b[')));
    assert.ok(lines('info', 'none', true).console.every((line) => !line.includes('\x1b[')));
  });

  it('prints what caused an error, but nothing that hangs on it', () => {
    const written: string[] = [];
    const log = createLogger({
      service: 'x',
      config: { console_log_type: 'debug', file_log_type: 'none', colorless_console_log: true },
      console: (line) => written.push(line),
    });
    const cause = Object.assign(new Error('inner'), { key: 'deadbeef' });
    log.error('outer', {}, new Error('middle', { cause }));
    assert.match(written[0] ?? '', /middle.*inner/);
    assert.doesNotMatch(written[0] ?? '', /deadbeef/);
  });

  it('does not print what a parser could not read, which its error quotes', () => {
    const written: string[] = [];
    const log = createLogger({
      service: 'x',
      config: { console_log_type: 'debug', file_log_type: 'none', colorless_console_log: true },
      console: (line) => written.push(line),
    });
    for (const text of ['{"key_buffer": S3cret-key}', "{'S3cret-key': 1}", '[\n    at S3cret-key\n]']) {
      try {
        JSON.parse(text);
      } catch (cause) {
        log.error('outer', {}, new Error('middle', { cause }));
      }
    }
    assert.equal(written.length, 3);
    for (const line of written) {
      assert.match(line, /middle.*SyntaxError/);
      assert.doesNotMatch(line, /S3cr|t-key/);
    }
  });
});
