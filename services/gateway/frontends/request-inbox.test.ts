import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type JsonFrame, JsonFramer } from '#common/etsi/json-framer.ts';
import { RequestInbox } from './request-inbox.ts';

const inboxOf = (maxBytes: number) => new RequestInbox<JsonFrame>(new JsonFramer({ maxBytes }));

const next = (inbox: RequestInbox<JsonFrame>) => {
  const frame = inbox.next();
  return Buffer.isBuffer(frame) ? frame.toString() : frame?.error;
};

describe('RequestInbox', () => {
  it('keeps what was not taken, though the memory that was lent is read into again', () => {
    const inbox = inboxOf(100);
    const lent = Buffer.from('[1][2][3][4');
    inbox.lend(lent);
    assert.equal(next(inbox), '[1]');
    inbox.keep();
    lent.fill('x');
    assert.equal(inbox.behind, 8);
    assert.equal(next(inbox), '[2]');
    const more = Buffer.from('][5]');
    inbox.lend(more);
    inbox.keep();
    more.fill('x');
    assert.deepEqual([next(inbox), next(inbox), next(inbox), next(inbox)], ['[3]', '[4]', '[5]', undefined]);
    assert.deepEqual([inbox.behind, inbox.unfinished], [0, 0]);
  });

  it('knows an unfinished request from one that it has not looked at', () => {
    const inbox = inboxOf(100);
    inbox.lend(Buffer.from('[1]['));
    assert.deepEqual([inbox.behind, inbox.unfinished], [4, 0]);
    next(inbox);
    next(inbox);
    inbox.keep();
    assert.deepEqual([inbox.behind, inbox.unfinished], [0, 1]);
  });

  it('leaves what is lent as it is and wipes what is its own', () => {
    const inbox = inboxOf(100);
    const lent = Buffer.from('[1][2]');
    inbox.lend(lent);
    inbox.keep();
    const frame = inbox.next() as Buffer;
    assert.equal(frame.toString(), '[1]');
    inbox.stop();
    assert.ok(frame.every((byte) => byte === 0));
    assert.equal(lent.toString(), '[1][2]');
    assert.deepEqual([inbox.behind, next(inbox)], [0, undefined]);
    inbox.lend(lent);
    assert.equal(next(inbox), undefined);
  });

  it('says that a request is too large, and nothing after it', () => {
    const inbox = inboxOf(10);
    inbox.lend(Buffer.from('["123456789"][]'));
    assert.deepEqual([next(inbox), next(inbox)], ['too-large', undefined]);
  });

  it('loses no byte that lies behind a request when more comes', () => {
    const inbox = inboxOf(1_000);
    inbox.lend(Buffer.from('{"a":1}{'));
    assert.equal(String(inbox.next()), '{"a":1}');
    inbox.keep();
    assert.equal(inbox.behind, 1);
    inbox.lend(Buffer.from('"b":2}'));
    assert.equal(String(inbox.next()), '{"b":2}');
  });

  it('copies no request that has come whole', () => {
    const inbox = inboxOf(1_000);
    const data = Buffer.from(new Uint8Array(Buffer.from('{"a":1}')));
    inbox.lend(data);
    const frame = inbox.next();
    assert.ok(Buffer.isBuffer(frame) && frame.buffer === data.buffer);
  });
});
