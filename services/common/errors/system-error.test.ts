import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { failureText, systemCodeOf } from '#common/errors/system-error.ts';

const withCode = (code: string) => Object.assign(new Error(`bind ${code} 127.0.0.1:80`), { code });

describe('failureText', () => {
  it('adds the cause of an error of ours in words, once', () => {
    const outer = (cause: unknown) => new KeyweaveError('BAD_CONFIG', 'cannot listen on h:80', { cause });
    assert.equal(
      failureText(outer(withCode('EACCES'))),
      'cannot listen on h:80: this user may not do that (EACCES)',
    );
    const grpc = new Error('No address added out of total 1 resolved errors: [listen EADDRINUSE: h:80]');
    assert.match(failureText(outer(grpc)), /^cannot listen on h:80: the port is in use.* \(EADDRINUSE\)$/);
    const unresolved = new Error('Name resolution failed for target dns:kme:80');
    assert.match(failureText(outer(unresolved)), /: the name cannot be resolved \(ENOTFOUND\)$/);
    assert.match(failureText(outer(outer(withCode('EADDRINUSE')))), /in use/);
    const told = new KeyweaveError('BAD_CONFIG', 'x: the port is in use (EADDRINUSE)', {
      cause: withCode('EADDRINUSE'),
    });
    assert.equal(failureText(told), told.detail);
    assert.equal(failureText(outer(new Error('secret'))), 'cannot listen on h:80');
  });

  it('tells an error of the system by its path and in words, without a stack', () => {
    const error = (() => {
      try {
        readFileSync('/nowhere/file');
      } catch (thrown) {
        return thrown;
      }
    })();
    assert.equal(failureText(error), '/nowhere/file: there is no such file or folder (ENOENT)');
  });

  it('keeps the stack of what nobody foresaw', () => {
    assert.match(failureText(new TypeError('x')), /TypeError: x\n\s+at /);
  });
});

describe('systemCodeOf', () => {
  it('is nothing where there is no code of the system, and ends on causes that go round', () => {
    const round = new Error('a', { cause: new Error('b') });
    (round.cause as Error).cause = round;
    assert.equal(systemCodeOf(round), undefined);
    assert.equal(systemCodeOf(Object.assign(new Error('x'), { code: 'constructor' })), undefined);
  });
});
