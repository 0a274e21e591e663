import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { LOG_TYPES, type LogType } from '#common/config/node-config.ts';
import { createLogger } from '#common/log/logger.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-log-'));
after(() => rmSync(folder, { recursive: true }));

/** Everything, on the console alone. */
const DEBUG = {
  console_log_type: 'debug',
  file_log_type: 'none',
  colorless_console_log: true,
  console_format: 'text',
} as const;

function lines(consoleType: LogType, fileType: LogType, colorless = true) {
  const filename = join(folder, `${consoleType}-${fileType}-${colorless}.log`);
  const written: string[] = [];
  const log = createLogger({
    service: 'gateway',
    config: {
      console_log_type: consoleType,
      file_log_type: fileType,
      colorless_console_log: colorless,
      console_format: 'text',
      filename,
    },
    console: (line) => written.push(line),
    colours: true,
  });
  for (const level of ['debug', 'info', 'warning', 'error'] as const) log[level](`a ${level} line`, { n: 1 });
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
    const log = createLogger({ service: 'gateway', config: DEBUG, console: (line) => written.push(line) });
    log.warning('a batch was dropped', { ksid: '0123abcd-4455-4677-8899-aabbccddeeff', first: 7 });
    assert.match(written[0] ?? '', /ksid="0123abcd" first=7/);
    assert.doesNotMatch(written[0] ?? '', /4455/);
  });

  it('colours the console only when asked', () => {
    assert.ok(lines('info', 'none', false).console.every((line) => line.includes('\x1b[')));
    assert.ok(lines('info', 'none', true).console.every((line) => !line.includes('\x1b[')));
  });

  it('writes a JSON object a line on the console where that is configured, as into the file, without colours', () => {
    const written: string[] = [];
    const filename = join(folder, 'both.log');
    const config = {
      ...DEBUG,
      console_format: 'json',
      file_log_type: 'debug',
      colorless_console_log: false,
    } as const;
    const log = createLogger({
      service: 'gateway',
      config: { ...config, filename },
      console: (line) => written.push(line),
      colours: true,
    });
    log.warning('two\nlines', { ksid: '0123abcd-4455-4677-8899-aabbccddeeff', n: 1 }, new Error('why'));
    assert.equal(written.join('').indexOf('\n'), written.join('').length - 1);
    assert.ok(!written.join('').includes('\x1b'));
    const [onConsole, inFile] = [JSON.parse(written[0] ?? ''), JSON.parse(readFileSync(filename, 'utf8'))];
    assert.partialDeepStrictEqual(onConsole, {
      level: 'warning',
      service: 'gateway',
      msg: 'two\nlines',
      ksid: '0123abcd',
      n: 1,
    });
    assert.match(onConsole.cause, /^Error: why/);
    assert.ok(Math.abs(Date.parse(onConsole.time) - Date.now()) < 60_000);
    assert.deepEqual({ ...onConsole, time: '' }, { ...inFile, time: '' });
  });

  it('lets no field take the place of what every JSON line has', () => {
    const written: string[] = [];
    const config = { ...DEBUG, console_format: 'json' } as const;
    const log = createLogger({ service: 'gateway', config, console: (line) => written.push(line) });
    log.info('a line', { service: 'hybridizer', level: 7, msg: 'x' });
    assert.doesNotMatch(written[0] ?? '', /"(service|level|msg)":.*"\1":/);
    assert.partialDeepStrictEqual(JSON.parse(written[0] ?? ''), {
      level: 'info',
      service: 'gateway',
      msg: 'a line',
      service_: 'hybridizer',
    });
  });

  it('goes on in a new file when it is told to, and says so there', () => {
    const filename = join(folder, 'rotated.log');
    const log = createLogger({
      service: 'gateway',
      config: { ...DEBUG, console_log_type: 'none', file_log_type: 'info', filename },
    });
    log.info('before');
    renameSync(filename, `${filename}.1`);
    log.reopen();
    log.info('after');
    const messages = (path: string) =>
      readFileSync(path, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).msg);
    assert.deepEqual(messages(`${filename}.1`), ['before']);
    assert.deepEqual(messages(filename), ['the log file was opened anew', 'after']);
  });

  it('names the trace that a line is part of, where there is one', () => {
    const written: string[] = [];
    const log = createLogger({ service: 'gateway', config: DEBUG, console: (line) => written.push(line) });
    let trace: string | undefined = '0af7651916cd43dd8448eb211c80319c';
    log.inTrace(() => trace);
    log.info('a line', { n: 1 });
    trace = undefined;
    log.info('a line', { n: 2 });
    assert.match(written[0] ?? '', / a line n=1 trace="0af7651916cd43dd8448eb211c80319c"$/m);
    assert.match(written[1] ?? '', / a line n=2$/m);
  });

  it('tells the console when the file cannot be written', () => {
    const written: string[] = [];
    const log = createLogger({
      service: 'gateway',
      config: { ...DEBUG, console_log_type: 'error', file_log_type: 'info', filename: '/dev/full' },
      console: (line) => written.push(line),
    });
    for (let i = 0; i < 3; i++) log.info('a line');
    assert.equal(written.length, 1);
    assert.match(written[0] ?? '', /ERROR .*log lines are lost.* path="\/dev\/full" code="ENOSPC"/);
  });

  it('prints what caused an error, but nothing that hangs on it', () => {
    const written: string[] = [];
    const log = createLogger({
      service: 'x',
      config: DEBUG,
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
      config: DEBUG,
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
