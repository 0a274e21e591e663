import assert from 'node:assert/strict';
import crypto, { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, it, mock } from 'node:test';
import { status as grpcStatus, Metadata } from '@grpc/grpc-js';
import { createCa, issueServiceCertificate } from '#certs/issue.ts';
import { revoke } from '#certs/revoke.ts';
import { CALLER_METADATA } from '#common/grpc/callers.ts';
import { readTrust, type Trust } from '#common/tls/trust.ts';

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

const folder = mkdtempSync(join(tmpdir(), 'keyweave-authorization-'));
after(() => rmSync(folder, { recursive: true }));
const [caPath, crlPath] = [join(folder, 'ca.crt'), join(folder, 'ca.crl')];
writeFileSync(caPath, ca.certificate);
const trusted = readTrust(caPath);

const gateway = await certificateOf('gateway');
const hybridizer = await certificateOf('hybridizer');
/** The CA's own: sound, but it names nobody. */
const nameless = new X509Certificate(ca.certificate).raw;

let now: number;
let refusals: [from: string, fields: object | undefined][];
let trust: Trust;
let interceptor: ReturnType<typeof authorizationInterceptor>;

beforeEach(() => {
  now = nowMs;
  refusals = [];
  parsed = 0;
  trust = trusted;
  const callers = new Map([
    ['keyweave.v1.Hybridizer', new Set([GATEWAY])],
    ['keyweave.v1.Nobody', new Set<string>()],
  ]);
  interceptor = authorizationInterceptor({
    callers,
    trust: () => trust,
    refusals: { line: (from, _level, _message, fields) => void refusals.push([from, fields]) },
    wallNow: () => now,
  });
});

interface Outcome {
  /** Who the handler is told the caller is; undefined when the call does not reach it. */
  caller?: unknown[];
  refused?: { code: number; details: string };
  /** The client ends the call. */
  end?: () => void;
}

/** Makes one call over a connection with that certificate. */
function call(
  raw: Buffer | undefined,
  path = '/keyweave.v1.Hybridizer/Derive',
  metadata = new Metadata(),
  kind: { requestStream?: boolean; responseStream?: boolean } = {},
): Outcome {
  const outcome: Outcome = {};
  let receive: (metadata: Metadata) => void = () => undefined;
  const connection = {
    getPeer: () => '10.0.0.7:4000',
    getAuthContext: () => ({ sslPeerCertificate: raw && { raw } }),
    sendStatus: (status: { code: number; details: string }) => {
      outcome.refused = status;
    },
    start: (listener: { onReceiveMetadata(metadata: Metadata): void; onCancel(): void }) => {
      receive = (received) => listener.onReceiveMetadata(received);
      // Not among what tests compare.
      Object.defineProperty(outcome, 'end', { value: () => listener.onCancel(), enumerable: false });
    },
  };
  const intercepted = interceptor({ path, ...kind } as never, connection as never);
  intercepted.start({
    onReceiveMetadata: (received: Metadata) => {
      outcome.caller = received.get(CALLER_METADATA);
    },
    onCancel: () => undefined,
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

const notAfterOfGateway = nowMs + DAY_MS;

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

describe('what is trusted', () => {
  const revokedNow = async () => {
    const parsedCa = new X509Certificate(ca.certificate);
    const certificates = [new X509Certificate(gateway)];
    const options = { crlPath, certificates, reason: 'unspecified', days: 1 } as const;
    revoke({ ca: { ...ca, parsed: parsedCa }, ...options });
    return readTrust(caPath, crlPath);
  };

  it('may change while a connection lives: who is revoked is refused from the next call on', async () => {
    assert.deepEqual(call(gateway), { caller: [GATEWAY] });
    trust = await revokedNow();
    assert.deepEqual(call(gateway), denied('the certificate is revoked'));
    trust = trusted;
    assert.deepEqual(call(gateway), { caller: [GATEWAY] });
  });

  it('is asked of for each certificate: one that no CA has issued, or none any more, is refused', async () => {
    const other = await createCa({ network: 'keyweave', days: 10 });
    const otherPath = join(folder, 'other.crt');
    writeFileSync(otherPath, other.certificate);
    const unknown = denied('no CA that is trusted here has issued the certificate');
    trust = readTrust(otherPath);
    assert.deepEqual(call(gateway), unknown);
    writeFileSync(otherPath, `${other.certificate}\n${ca.certificate}`);
    trust = readTrust(otherPath);
    assert.deepEqual(call(gateway), { caller: [GATEWAY] });
  });

  it('holds within the dates of the CA, too', async () => {
    const short = await createCa({ network: 'keyweave', days: 0.5, nowMs });
    const names = { network: 'keyweave', nodeUuid: UUID, service: 'gateway', names: [] };
    const { certificate } = await issueServiceCertificate({ ca: short, ...names, days: 1, nowMs });
    const shortPath = join(folder, 'short.crt');
    writeFileSync(shortPath, short.certificate);
    trust = readTrust(shortPath);
    const { raw } = new X509Certificate(certificate);
    assert.deepEqual(call(raw), { caller: [GATEWAY] });
    now = nowMs + DAY_MS / 2 + 1;
    assert.deepEqual(call(raw), denied('the certificate is out of date'));
  });

  describe('and a stream that is open', () => {
    beforeEach(() => mock.timers.enable({ apis: ['setInterval'] }));
    afterEach(() => mock.timers.reset());

    it('ends soon after its caller is refused', async () => {
      const outcome = call(gateway, undefined, undefined, { requestStream: true });
      mock.timers.tick(10_000);
      assert.deepEqual(outcome, { caller: [GATEWAY] });
      trust = await revokedNow();
      mock.timers.tick(2_000);
      assert.deepEqual(outcome, { caller: [GATEWAY], ...denied('the certificate is revoked') });
      assert.equal(refusals.length, 1);
      mock.timers.tick(10_000);
      assert.equal(refusals.length, 1, 'it was ended twice');
    });

    it('ends when the certificate is over, and not where it has ended before', () => {
      const [open, ended] = ['open', 'ended'].map(() =>
        call(gateway, undefined, undefined, { responseStream: true }),
      );
      ended?.end?.();
      now = notAfterOfGateway + 1;
      mock.timers.tick(2_000);
      assert.deepEqual(open?.refused, denied('the certificate is out of date').refused);
      assert.equal(ended?.refused, undefined);
    });
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
