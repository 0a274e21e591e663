import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { issueServerCertificate } from '#certs/issue.ts';
import { HOME } from '#common/service/installation.ts';
import { eventually } from '../helpers/network.ts';
import type { Programs } from './programs.ts';

const SHIPPED = join(HOME, 'deploy', 'telemetry');
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 15_000;

/** Where the observers listen: the shipped files have fixed ports, so that each run has loopback addresses of its own. */
export interface Places {
  readonly collector: string;
  readonly jaeger: string;
  readonly prometheus: string;
}

export function drawPlaces(): Places {
  const [a, b] = [randomInt(1, 255), randomInt(1, 255)];
  const place = (last: number) => `127.${a}.${b}.${last}`;
  return { collector: place(1), jaeger: place(2), prometheus: place(3) };
}

/** What Prometheus asks, in place of the targets of containers. */
export interface Target {
  readonly instance: string;
  readonly address: string;
}

export interface Observers {
  /** Samples of an instant query, now. @throws Error with what Prometheus says of it. */
  query(expression: string): Promise<Sample[]>;
  /** What Prometheus' API answers, `data` of it. */
  prometheus<T>(path: string): Promise<T>;
  /** Traces of Jaeger that have a tag. */
  traces(service: string, tags: Readonly<Record<string, string>>): Promise<Trace[]>;
  stop(): Promise<void>;
}

export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

/** As far as the tests look. */
export interface Trace {
  readonly spans: readonly { readonly operationName: string; readonly processID: string }[];
  readonly processes: Readonly<
    Record<
      string,
      { readonly serviceName: string; readonly tags: readonly { key: string; value: unknown }[] }
    >
  >;
}

/** What Prometheus says of its rules, as far as the tests look. */
export interface Rules {
  readonly groups: readonly {
    readonly rules: readonly { type: string; name: string; health: string; lastError?: string }[];
  }[];
}

/** What Prometheus' API answers, `data` of it. @throws Error with what it says of what was asked. */
export async function askPrometheus<T>(page: string, path: string): Promise<T> {
  const { data, error } = (await askJson(`${page}/api/v1/${path}`)) as { data: T; error?: string };
  if (error !== undefined) throw new Error(`${path}: ${error}`);
  return data;
}

/** At most a hundred traces of the last hour. */
export async function askJaeger(page: string, asked: Readonly<Record<string, string>>): Promise<Trace[]> {
  const query = new URLSearchParams({ ...asked, limit: '100', lookback: '1h' });
  return ((await askJson(`${page}/api/traces?${query}`)) as { data: Trace[] }).data;
}

/** Which services of which nodes have spans in a trace, each as `gateway of <uuid>`. */
export function placesOf({ processes }: Trace): string[] {
  return Object.values(processes).map(({ serviceName, tags }) => {
    const node = tags.find(({ key }) => key === 'keyweave.node')?.value;
    return `${serviceName} of ${node}`;
  });
}

/**
 * Starts the real collector, Jaeger and Prometheus on the shipped files.
 *
 * @param folder of a local network, whose CA the collector's certificate is of; gets what they write.
 */
export async function startObservers(
  programs: Programs,
  places: Places,
  folder: string,
  targets: readonly Target[],
): Promise<Observers> {
  const home = join(folder, 'observers');
  mkdirSync(home);
  const ca = {
    certificate: readFileSync(join(folder, 'ca', 'ca.crt'), 'utf8'),
    key: readFileSync(join(folder, 'ca', 'ca.key'), 'utf8'),
  };
  const { certificate, key } = await issueServerCertificate({ ca, name: places.collector, days: 1 });
  writeFileSync(join(home, 'server.crt'), certificate);
  writeFileSync(join(home, 'server.key'), key, { mode: 0o600 });
  const config = join(home, 'prometheus.yml');
  writeFileSync(config, JSON.stringify(configFor(targets)));

  const [jaegerPage, prometheusPage] = [`${places.jaeger}:16686`, `${places.prometheus}:9090`];
  const started = [
    start(programs.jaeger, ['--config', join(SHIPPED, 'jaeger.yaml')], {
      JAEGER_ADDRESS: places.jaeger,
      JAEGER_UI_ADDRESS: jaegerPage,
    }),
    start(programs.otelcol, ['--config', join(SHIPPED, 'collector.yaml')], {
      COLLECTOR_ADDRESS: places.collector,
      COLLECTOR_CERTIFICATES: home,
      JAEGER_ADDRESS: places.jaeger,
    }),
    start(programs.prometheus, [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(home, 'samples')}`,
      `--web.listen-address=${prometheusPage}`,
    ]),
  ];
  const stop = async () => {
    await Promise.all(started.map((each) => each.stop()));
  };
  const prometheus = <T>(path: string) => askPrometheus<T>(`http://${prometheusPage}`, path);
  try {
    await eventually('Jaeger and Prometheus answer', START_LIMIT_MS, async () => {
      await Promise.all([askJson(`http://${jaegerPage}/api/services`), prometheus('status/buildinfo')]);
      return true;
    });
  } catch (error) {
    await stop();
    throw new Error(`${(error as Error).message}\n${started.map((each) => each.said()).join('\n')}`);
  }
  return {
    prometheus,
    stop,
    query: async (expression) =>
      (await prometheus<{ result: Sample[] }>(`query?${new URLSearchParams({ query: expression })}`)).result,
    traces: (service, tags) => askJaeger(`http://${jaegerPage}`, { service, tags: JSON.stringify(tags) }),
  };
}

/** The shipped prometheus.yml with other targets, each of which shows a whole node. */
function configFor(targets: readonly Target[]): object {
  const shipped = parse(readFileSync(join(SHIPPED, 'prometheus.yml'), 'utf8'));
  const [{ static_configs: _, relabel_configs: __, ...job }] = shipped.scrape_configs;
  return {
    ...shipped,
    rule_files: shipped.rule_files.map((name: string) => join(SHIPPED, name)),
    scrape_configs: [
      {
        ...job,
        static_configs: targets.map(({ instance, address }) => ({
          targets: [address],
          labels: { instance },
        })),
      },
    ],
  };
}

async function askJson(url: string): Promise<unknown> {
  return (await fetch(url, { signal: AbortSignal.timeout(10_000) })).json();
}

function start(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said = `${said}${text}`.slice(-4_000);
    });
  return { said: () => `${program}: ${said}`, stop: () => end(child) };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((done) => child.once('close', done));
  child.kill();
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
  await ended;
  clearTimeout(timer);
}
