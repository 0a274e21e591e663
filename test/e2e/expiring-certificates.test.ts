import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Metadata } from 'nice-grpc';
import type { Address } from '#common/config/fields.ts';
import type { ServiceName } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import type { GrpcConnection } from '#common/grpc/client.ts';
import { HealthDefinition } from '#gen/grpc/health/v1/health.ts';
import { HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import { KeyAgreementDefinition } from '#gen/keyweave/v1/key_agreement.ts';
import { PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import { QkdSourceDefinition } from '#gen/keyweave/v1/qkd_source.ts';
import { dial, impersonate } from '../helpers/lying-peer.ts';
import { eventually, type LocalNode, twoNodes } from '../helpers/network.ts';

const { network, alice, bob } = await twoNodes();

/** Life of a certificate that ends during the test; X.509 counts whole seconds. */
const SHORT_LIFE_MS = 4_000;
const DAY_MS = 86_400_000;

describe('a certificate that runs out on a connection that lives', { concurrency: true }, () => {
  const at = (node: LocalNode, service: ServiceName) => node.services[service]?.address as Address;
  const agreement = (connection: GrpcConnection) =>
    connection
      .client(KeyAgreementDefinition)
      .close(
        { keyStreamId: Buffer.alloc(16), reason: '' },
        { metadata: Metadata({ [PEER_METADATA]: bob.uuid }), timeoutMs: 2_000 },
      );

  /** Every port that asks for a certificate: who may call it, and a harmless call. */
  const PORTS: [
    server: ServiceName,
    outside: boolean,
    caller: ServiceName,
    call: (connection: GrpcConnection) => Promise<unknown>,
  ][] = [
    ['peer-broker', true, 'peer-broker', agreement],
    ['peer-broker', false, 'gateway', agreement],
    ['gateway', false, 'peer-broker', agreement],
    [
      'hybridizer',
      false,
      'gateway',
      (c) => c.client(HybridizerDefinition).derive({ batches: [] }, { timeoutMs: 2_000 }),
    ],
    [
      'pqc-source',
      false,
      'gateway',
      (c) => c.client(PqcSourceDefinition).listAlgorithms({}, { timeoutMs: 2_000 }),
    ],
    [
      'qkd-source',
      false,
      'gateway',
      (c) =>
        c
          .client(QkdSourceDefinition)
          .closeQkd({ keyStreamId: Buffer.alloc(16), epoch: 0, qkdKeyStreamId: 'x' }, { timeoutMs: 2_000 }),
    ],
    ['pqc-source', false, 'hybridizer', (c) => c.client(HealthDefinition).check({}, { timeoutMs: 2_000 })],
  ];

  for (const [service, outside, caller, call] of PORTS) {
    const port = `${service}${outside ? ', outer port' : ''}, called by ${caller}`;
    it(`${port}: calls go through until then and are refused from then on`, {
      concurrency: true,
    }, async () => {
      const impostor = await impersonate(network, outside ? bob.uuid : alice.uuid, {
        service: caller,
        days: SHORT_LIFE_MS / DAY_MS,
      });
      const connection = dial(impostor, alice, {
        service,
        address: outside ? alice.peer : at(alice, service),
      });
      const calls: { beganMs: number; endedMs: number; refusal: string | undefined }[] = [];
      const once = async () => {
        const beganMs = Date.now();
        const refusal = await call(connection).then(
          () => undefined,
          (error: unknown) => (error instanceof KeyweaveError ? error : new Error(String(error))).message,
        );
        calls.push({ beganMs, endedMs: Date.now(), refusal });
        return refusal;
      };
      try {
        await eventually(`calls are refused (${port})`, SHORT_LIFE_MS + 3_000, async () =>
          (await once()) === undefined ? undefined : true,
        );
      } finally {
        for (let i = 0; i < 3; i++) await once();
        connection.close();
        impostor.close();
      }
      const [before, since] = [
        calls.filter(({ endedMs }) => endedMs < impostor.notAfterMs),
        calls.filter(({ beganMs }) => beganMs > impostor.notAfterMs),
      ];
      assert.ok(
        before.length > 3 && since.length >= 3,
        `${before.length} calls before, ${since.length} after`,
      );
      assert.deepEqual(
        before.filter(({ refusal }) => refusal !== undefined),
        [],
      );
      // A connection made anew would have failed in its handshake: the refusal is of the one that lives.
      for (const { refusal } of since) assert.match(refusal ?? 'not refused', /^NOT_ALLOWED/);
    });
  }
});
