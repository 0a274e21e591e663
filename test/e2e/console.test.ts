import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { get } from 'node:https';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { AxeResults } from 'axe-core';
import { streamHash } from '#common/ids/stream-hash.ts';
import { UUID_PATTERN } from '#common/ids/uuid.ts';
import type { ConsoleAnswer } from '../../services/gateway/frontends/console/answers.ts';
import { startBrowser } from '../helpers/browser.ts';
import { clientCertificate } from '../helpers/client-certificate.ts';
import { openTo, startConsoleNetwork, takeKey } from '../helpers/console-network.ts';
import { Etsi004Client } from '../helpers/etsi004-client.ts';
import { eventually, keyOf, type LocalNode, stopNode } from '../helpers/network.ts';

const SETTLE_MS = 30_000;
/** Within which a page is to follow. */
const FOLLOW_MS = 5_000;

const browser = await startBrowser();
after(() => browser.close());
const { network, url } = await startConsoleNetwork(['Alice', 'Bob', 'Carol']);
after(() => network.stop());
const [alice, bob, carol] = network.nodes as [LocalNode, LocalNode, LocalNode];

/** Secrets of this run, and what else no page may tell, in every form in which they could have been written. */
const planted: string[] = [];
const plant = (secret: Buffer) =>
  planted.push(
    secret.toString('latin1'),
    ...(['hex', 'base64', 'base64url'] as const).map((form) => secret.toString(form).replace(/=+$/, '')),
  );

const pair = await openTo(network, 1);
plant(Buffer.from(pair.ksid));
plant(Buffer.from(pair.ksid.replaceAll('-', ''), 'hex'));
for (let i = 0; i < 20; i++) {
  const answers = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
  for (const answer of answers) plant(keyOf(answer));
}
/** A name that an application has called a stream by, which is refused. */
const STRANGE = '12345678-9abc-4def-8123-456789abcdef';
const stranger = await Etsi004Client.connect(alice.json);
after(() => stranger.disconnect());
assert.notEqual((await stranger.getKey(STRANGE)).status, 0);
plant(Buffer.from(STRANGE));

/** All that the console has sent to the browser. */
const sent: string[] = [];
const faults: string[] = [];
const page = await browser.newPage({ viewport: { width: 1360, height: 1000 } });
page.on('response', async (response) => void sent.push(await response.text().catch(() => '')));
page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
page.on('pageerror', (error) => faults.push(error.message));
page.on('request', (request) => {
  if (!request.url().startsWith(url)) faults.push(`a request left: ${request.url()}`);
});
await page.goto(url);

const standing = (node: LocalNode, state: string) =>
  page.locator(`#network [data-peer="${node.uuid}"][data-state="${state}"]`);

/** Waits until the first element that is so has this text; cells have nothing between them. */
const shows = (selector: string, text: RegExp) =>
  eventually(`${selector} shows ${text}`, SETTLE_MS, async () =>
    text.test((await page.locator(selector).first().textContent()) ?? '') ? true : undefined,
  );

describe('the console in a browser', () => {
  it('shows three nodes, their links and what flows', async () => {
    await page.locator(`#network [data-node="${alice.uuid}"]`).waitFor({ timeout: SETTLE_MS });
    for (const peer of [bob, carol]) await standing(peer, 'up').waitFor({ timeout: SETTLE_MS });
    await page.locator('#health[data-state="up"]').waitFor({ timeout: SETTLE_MS });
    const words = [streamHash(pair.ksid), 'bbbbbbbb', 'ML-KEM-768', 'QKD', 'xoring', 'both joined'];
    for (const word of words) await shows('#streams tbody tr', new RegExp(word));
    await shows('#streams tbody tr', /20$/);
    await shows('#refusals', /GET_KEY\s*UNKNOWN_STREAM/);
    for (const service of ['gateway', 'qkd-source', 'pqc-source', 'hybridizer', 'peer-broker'])
      await page.locator('#services td', { hasText: service }).first().waitFor({ timeout: SETTLE_MS });
    await shows('#certificates', /gateway\.crt/);
    await shows('#speeds', /ML-KEM-768\s*(generate|encapsulate|decapsulate)/);
    await shows('#algorithms', /ML-KEM-768 category 3/);
  });

  it('follows what is delivered', async () => {
    assert.ok(await takeKey(pair));
    const label = page.locator('#figures dd', { hasText: /^21 delivered$/ });
    await label.waitFor({ timeout: FOLLOW_MS });
    const chart = page.locator('#charts svg').first();
    await eventually('the chart has moments', SETTLE_MS, async () =>
      /L/.test((await chart.locator('path.line').first().getAttribute('d')) ?? '') ? true : undefined,
    );
  });

  for (const colorScheme of ['light', 'dark'] as const)
    for (const width of [1360, 390])
      it(`is accessible: ${colorScheme}, ${width} pixels wide`, async () => {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height: 900 });
        const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
        await page.evaluate(axe);
        const found = (await page.evaluate('axe.run()')) as AxeResults;
        assert.ok(found.passes.length > 10, 'hardly anything was looked at');
        const inWords = found.violations.map(
          ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`,
        );
        assert.deepEqual(inWords, []);
        const overflow = 'document.documentElement.scrollWidth - document.documentElement.clientWidth';
        assert.equal(await page.evaluate(overflow), 0, 'the page is wider than its window');
      });

  it(`follows a node that is killed, within ${FOLLOW_MS} ms`, async () => {
    await standing(carol, 'up').waitFor({ timeout: SETTLE_MS });
    for (const { pid } of Object.values(carol.services)) process.kill(pid, 'SIGKILL');
    carol.process.kill('SIGKILL');
    await standing(carol, 'down').waitFor({ timeout: FOLLOW_MS });
    assert.ok(await standing(bob, 'up').isVisible());
  });

  it('has told no key, no Key_stream_ID and nothing else that is secret, and asked nobody else', async () => {
    const text = [...sent, await page.content()].join('\n');
    assert.ok(text.includes(streamHash(pair.ksid)), 'what was sent is not looked at');
    for (const secret of planted) assert.ok(!text.includes(secret), `${secret.slice(0, 12)} was told`);
    const nodes = network.nodes.map(({ uuid }) => uuid);
    const others = [...text.matchAll(new RegExp(UUID_PATTERN, 'g'))].filter(
      ([uuid]) => !nodes.includes(uuid),
    );
    assert.deepEqual(others, [], 'a UUID that is none of a node');
    assert.deepEqual(faults, []);
  });

  it('is elsewhere for those with a certificate alone, and says so where metrics are off', async () => {
    const [certificate, key] = ['ca.crt', 'ca.key'].map((file) =>
      readFileSync(join(network.folder, 'ca', file), 'utf8'),
    ) as [string, string];
    const operator = await clientCertificate({ certificate, key }, { subject: 'CN=operator' });
    const { host = '', port = 0 } = bob.console ?? {};
    const ask = (tls: object) =>
      new Promise<string>((resolve, reject) => {
        get({ host, port, path: '/api/state', agent: false, ca: certificate, ...tls }, async (response) => {
          let text = '';
          for await (const part of response) text += part;
          resolve(text);
        }).on('error', reject);
      });
    await assert.rejects(ask({}), /certificate required|ECONNRESET/i);
    const { state }: ConsoleAnswer = JSON.parse(await ask({ cert: operator.certificate, key: operator.key }));
    assert.equal(state.node.uuid, bob.uuid);
    assert.match(state.metricsMissing ?? '', /^Metrics are off/);
    assert.equal(state.streams.shown[0]?.stream, streamHash(pair.ksid));
  });

  it('says that the gateway does not answer any more', async () => {
    await pair.close();
    await stopNode(alice);
    await page.locator('#health', { hasText: 'No connection' }).waitFor({ timeout: SETTLE_MS });
  });
});
