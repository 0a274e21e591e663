import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Look } from '#common/status/node-status.ts';
import { readSamples, Scrape } from '#common/status/samples.ts';
import { systemClock } from '#common/time/clock.ts';

const LIMIT_MS = 3_000;
/** What a node shows is some hundred kB. */
const MAX_BYTES = 8 * 1024 * 1024;

/** What a health port shows at one moment. */
export interface Pages {
  /** In Prometheus' text format. */
  readonly metrics: string;
  /** What keeps whoever has the port from its work, in words. */
  readonly problems: readonly string[];
}

/**
 * Looks at the health ports of a node: one where it runs as a whole, those of
 * all services where each has its own.
 *
 * @throws KeyweaveError SERVICE_UNAVAILABLE where nobody answers, BAD_CONFIG where it shows no metrics.
 */
export async function look(addresses: readonly Address[]): Promise<Look> {
  return lookOf(await Promise.all(addresses.map((address) => readPages(address))));
}

/** What was read just now, as one look at the node. */
export function lookOf(pages: readonly Pages[]): Look {
  return {
    scrape: new Scrape(pages.flatMap(({ metrics }) => readSamples(metrics))),
    problems: pages.flatMap(({ problems }) => problems),
    atMs: systemClock.monotonicMs(),
    wallMs: systemClock.wallMs(),
  };
}

/**
 * Reads what one health port shows; every wait and length has a limit.
 *
 * @throws KeyweaveError SERVICE_UNAVAILABLE where nobody answers, BAD_CONFIG where it shows no metrics.
 */
export async function readPages(address: Address): Promise<Pages> {
  const metrics = await page(address, '/metrics');
  const ready = await page(address, '/readyz');
  return { metrics: metrics.text, problems: ready.code === 200 ? [] : ready.text.trim().split('\n') };
}

async function page({ host, port }: Address, path: string): Promise<{ code: number; text: string }> {
  const where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(`http://${where}${path}`, {
      signal: AbortSignal.timeout(LIMIT_MS),
      redirect: 'error',
    });
    text = await limitedText(answer);
  } catch (cause) {
    const detail = `nobody answers at ${where}, which should be a health port`;
    throw new KeyweaveError('SERVICE_UNAVAILABLE', detail, { cause });
  }
  if (path === '/metrics' && answer.status !== 200) {
    const detail = `${where} shows no metrics: the node needs the sections health and telemetry in its config.json`;
    throw new KeyweaveError('BAD_CONFIG', detail);
  }
  return { code: answer.status, text };
}

async function limitedText({ body }: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of body ?? []) {
    parts.push(part as Uint8Array);
    bytes += (part as Uint8Array).length;
    if (bytes > MAX_BYTES) throw new Error('the answer is too long');
  }
  return Buffer.concat(parts).toString();
}
