import assert from 'node:assert/strict';
import crypto, { X509Certificate } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { beforeEach, describe, it } from 'node:test';
import { status as grpcStatus, Metadata } from '@grpc/grpc-js';
import { createCa, issueServiceCertificate } from '#certs/issue.ts';
import { CALLER_METADATA } from '#common/grpc/callers.ts';

const UUID = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const GATEWAY = `spiffe://keyweave/node/${UUID}/gateway`;
const DAY_MS = 86_400_000;

/** Certificates that are parsed are counted; the module takes the class when it is loaded. */
let parsed = 0;
class CountedCertificate extends X509Certificate {
  constructor(raw: Buffer) {
    super(raw);
    parsed++;
  }
}
crypto.X509Certificate = CountedCertificate as typeof X509Certificate;
syncBuiltinESMExports();
const { authorizationInterceptor } = await import('#common/grpc/authorization.ts');
crypto.X509Certificate = X509Certificate;
syncBuiltinESMExports();

const ca = await createCa({ network: 'keyweave', days: 10 });
const nowMs = Math.floor(Date.now() / 1000) * 1000;

/** The raw certificate of a service, valid from five minutes before `nowMs` on for a day. */
async function certificateOf(service: string, network = 'keyweave'): Promise<Buffer> {
  const names = { network, nodeUuid: UUID, service, names: [] };
  return new X509Certificate((await issueServiceCertificate({ ca, ...names, days: 1, nowMs })).certificate)
    .raw;
}

const gateway = await certificateOf('gateway');
const hybridizer = await certificateOf('hybridizer');
/** The CA's own: sound, but it names nobody. */
const nameless = new X509Certificate(ca.certificate).raw;

let now: number;
let refusals: [from: string, fields: object | undefined][];
let interceptor: ReturnType<typeof authorizationInterceptor>;

beforeEach(() => {
  now = nowMs;
  refusals = [];
  parsed = 0;
  const callers = new Map([
    ['keyweave.v1.Hybridizer', new Set([GATEWAY])],
    ['keyweave.v1.Nobody', new Set<string>()],
  ]);
  interceptor = authorizationInterceptor({
    callers,
    refusals: { line: (from, _level, _message, fields) => void refusals.push([from, fields]) },
    wallNow: () => now,
  });
});

interface Outcome {
  /** Who the handler is told the caller is; undefined when the call does not reach it. */
  caller?: unknown[];
  refused?: { code: number; details: string };
}

/** Makes one call over a connection with that certificate. */
function call(
  raw: Buffer | undefined,
  path = '/keyweave.v1.Hybridizer/Derive',
  metadata = new Metadata(),
): Outcome {
  const outcome: Outcome = {};
  let receive: (metadata: Metadata) => void = () => undefined;
  const connection = {
    getPeer: () => '10.0.0.7:4000',
    getAuthContext: () => ({ sslPeerCertificate: raw && { raw } }),
    sendStatus: (status: { code: number; details: string }) => {
      outcome.refused = status;
    },
    start: (listener: { onReceiveMetadata(metadata: Metadata): void }) => {
      receive = (received) => listener.onReceiveMetadata(received);
    },
  };
  const intercepted = interceptor({ path } as never, connection as never);
  intercepted.start({
    onReceiveMetadata: (received: Metadata) => {
      outcome.caller = received.get(CALLER_METADATA);
    },
  } as never);
  receive(metadata);
  return outcome;
}

const denied = (details: string): Outcome => ({
  refused: { code: grpcStatus.PERMISSION_DENIED, details },
});

describe('authorisation of a call', () => {
  it('lets in who is on the list of the called service, and says who it is', () => {
    assert.deepEqual(call(gateway), { caller: [GATEWAY] });
    assert.deepEqual(refusals, []);
  });

  it('drops what a client says of itself', () => {
    const metadata = new Metadata();
    metadata.set(CALLER_METADATA, 'spiffe://keyweave/node/x/gateway');
    assert.deepEqual(call(gateway, undefined, metadata).caller, [GATEWAY]);
    assert.deepEqual(call(hybridizer, undefined, metadata), denied('not on the list of callers'));
  });

  it('denies everybody else, and at services with an empty list or none', () => {
    const notListed = denied('not on the list of callers');
    assert.deepEqual(call(hybridizer), notListed);
    for (const path of ['/keyweave.v1.Nobody/Derive', '/keyweave.v1.Other/Derive', 'nonsense', ''])
      assert.deepEqual(call(gateway, path), notListed, path);
    assert.deepEqual(refusals[0], [
      '10.0.0.7',
      {
        client: '10.0.0.7:4000',
        method: '/keyweave.v1.Hybridizer/Derive',
        caller: `spiffe://keyweave/node/${UUID}/hybridizer`,
        reason: 'not on the list of callers',
      },
    ]);
  });

  it('logs no more of a path than anybody needs', () => {
    call(gateway, `/${'x'.repeat(5_000)}`);
    assert.ok(JSON.stringify(refusals).length < 400);
  });

  it('denies the same name of another network', async () => {
    assert.deepEqual(call(await certificateOf('gateway', 'other')), denied('not on the list of callers'));
  });

  it('denies who has no certificate, or one that names nobody', () => {
    const anonymous = denied('the certificate carries no SPIFFE id');
    assert.deepEqual(call(undefined), anonymous);
    assert.deepEqual(call(nameless), anonymous);
    assert.equal(refusals.length, 2);
  });
});

describe('the dates of a certificate', () => {
  const outOfDate = denied('the certificate is out of date');
  const notBefore = nowMs - 5 * 60_000;
  const notAfter = nowMs + DAY_MS;

  it('are checked at every call of a connection that lives', () => {
    assert.deepEqual(call(gateway), { caller: [GATEWAY] });
    now = notAfter + 1;
    assert.deepEqual(call(gateway), outOfDate);
    now = nowMs;
    assert.deepEqual(call(gateway), { caller: [GATEWAY] });
  });

  it('hold to their first and last millisecond', () => {
    for (const [at, expected] of [
      [notBefore - 1, outOfDate],
      [notBefore, { caller: [GATEWAY] }],
      [notAfter, { caller: [GATEWAY] }],
      [notAfter + 1, outOfDate],
    ] as const) {
      now = at;
      assert.deepEqual(call(gateway), expected, `${at - notBefore} ms after the first`);
    }
  });
});

describe('certificates that were parsed', () => {
  it('are kept, so that a call costs no parsing', () => {
    for (let i = 0; i < 5; i++) call(gateway);
    assert.equal(parsed, 1);
    call(hybridizer);
    call(gateway);
    assert.equal(parsed, 2);
  });

  it('are at most 256', () => {
    /** The same certificate with other bytes in its signature: parsed, it says the same. */
    const variant = (i: number) => {
      const raw = Buffer.from(gateway);
      raw.writeUInt16BE(i, raw.length - 2);
      return raw;
    };
    for (let i = 0; i < 256; i++) call(variant(i));
    call(variant(0));
    assert.equal(parsed, 256, 'one of 256 was forgotten');
    call(variant(256));
    call(variant(0));
    assert.equal(parsed, 258, 'more than 256 were kept');
  });
});
