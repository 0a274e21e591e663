import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { HOME } from '#common/service/installation.ts';
import { startBrowser } from '../helpers/browser.ts';
import { openTo, startConsoleNetwork, takeKey } from '../helpers/console-network.ts';
import { Etsi004Client } from '../helpers/etsi004-client.ts';

/**
 * Makes the pictures of docs/console.md from a real network of three nodes
 * under a light load: `make screenshots`.
 */
const FOLDER = join(HOME, 'docs/images');
const LOAD_MS = Number(process.env.SCREENSHOTS_SECONDS ?? 60) * 1_000;

/** What the pictures show, by their names. */
const PICTURES = {
  'console-light': { colorScheme: 'light', viewport: { width: 1360, height: 1000 }, fullPage: false },
  'console-dark': { colorScheme: 'dark', viewport: { width: 1360, height: 1000 }, fullPage: false },
  'console-narrow': { colorScheme: 'light', viewport: { width: 400, height: 900 }, fullPage: false },
  'console-whole': { colorScheme: 'light', viewport: { width: 1360, height: 1000 }, fullPage: true },
} as const;

/** Streams of the load: to which node, of what, and how long an application rests between its keys. */
const LOAD = [
  { to: 1, query: 'hybridization=hkdf-sha384&key_sources=ML-KEM-768,QKD', restMs: 60 },
  { to: 1, query: 'hybridization=xoring&key_sources=ML-KEM-1024,QKD', restMs: 180 },
  { to: 2, query: 'hybridization=hkdf-sha384&key_sources=ML-KEM-768,FrodoKEM-640-AES,QKD', restMs: 140 },
  { to: 2, query: 'hybridization=kmac256&key_sources=ML-KEM-512', restMs: 250 },
];

const { network, url } = await startConsoleNetwork(['Alice', 'Bob', 'Carol']);
const browser = await startBrowser();
try {
  const pairs = await Promise.all(LOAD.map(({ to, query }) => openTo(network, to, query)));
  let isOver = false;
  const load = pairs.map(async (pair, i) => {
    while (!isOver) {
      await takeKey(pair);
      const rest = (LOAD[i]?.restMs ?? 0) * (1 + 0.6 * Math.sin(performance.now() / 9_000 + i));
      await new Promise((resolve) => setTimeout(resolve, rest));
    }
  });
  const stranger = await Etsi004Client.connect(network.nodes[0]?.json ?? { host: '', port: 0 });
  for (let i = 0; i < 3; i++) await stranger.getKey('00000000-0000-4000-8000-000000000000');
  stranger.disconnect();
  const watching = await browser.newPage();
  await watching.goto(url);
  await new Promise((resolve) => setTimeout(resolve, LOAD_MS));
  await watching.close();
  mkdirSync(FOLDER, { recursive: true });
  for (const [name, { colorScheme, viewport, fullPage }] of Object.entries(PICTURES)) {
    const page = await browser.newPage({ colorScheme, viewport, reducedMotion: 'reduce' });
    await page.goto(url);
    await page.locator('#certificates tbody tr').first().waitFor();
    await page.screenshot({ path: join(FOLDER, `${name}.png`), fullPage });
    await page.close();
    process.stdout.write(`docs/images/${name}.png\n`);
  }
  isOver = true;
  await Promise.all(load);
  await Promise.all(pairs.map((pair) => pair.close()));
} finally {
  await browser.close();
  await network.stop();
}
