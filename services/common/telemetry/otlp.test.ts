import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { DiagLogLevel, diag } from '@opentelemetry/api';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { createCa } from '#certs/issue.ts';
import { createMetricPipeline } from '#common/telemetry/metric-pipeline.ts';
import { clientCertificate } from '#test/helpers/client-certificate.ts';
import { startCollector } from '#test/helpers/collector.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-otlp-'));
after(() => rmSync(folder, { recursive: true }));
const ca = await createCa({ network: 'keyweave', days: 1 });
const other = await createCa({ network: 'keyweave', days: 1 });
const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const caPath = file('ca.crt', ca.certificate);
const otherCaPath = file('other.crt', other.certificate);

/** A collector that asks for a certificate, and what it was sent of one counter. */
async function sent(tls: { ca_path: string; cert_path?: string; key_path?: string }): Promise<string[]> {
  const own = await clientCertificate(ca, {
    subject: 'CN=collector',
    names: [{ type: 'ip', value: '127.0.0.1' }],
  });
  const server: ServerOptions = {
    ...{ cert: own.certificate, key: own.key, ca: ca.certificate },
    ...{ requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' },
  };
  const collector = await startCollector(server);
  const metrics = createMetricPipeline(resourceFromAttributes({ 'service.name': 'test' }), {
    ...{ endpoint: `${collector.endpoint}/`, interval: 600_000 },
    ...tls,
  });
  metrics.meter.createCounter('keyweave_test_total').add(1);
  await metrics.close().catch(() => undefined);
  await collector.close();
  return collector.bodies.map(({ path, body }) => `${path} ${body.includes('keyweave_test_total')}`);
}

describe('OTLP over TLS', () => {
  const silent = () => undefined;
  diag.setLogger(
    { error: silent, warn: silent, info: silent, debug: silent, verbose: silent },
    DiagLogLevel.ERROR,
  );

  it('goes to a collector of the CA that is named, with the own certificate', async () => {
    const own = await clientCertificate(ca, { subject: 'CN=node' });
    const tls = {
      ca_path: caPath,
      cert_path: file('node.crt', own.certificate),
      key_path: file('node.key', own.key),
    };
    assert.deepEqual(await sent(tls), ['/v1/metrics true']);
    assert.deepEqual(await sent({ ...tls, ca_path: otherCaPath }), []);
  });

  it('does not go through without the certificate that the collector asks for', async () => {
    assert.deepEqual(await sent({ ca_path: caPath }), []);
  });
});
