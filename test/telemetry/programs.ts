import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, succeeds } from '../containers/command.ts';

/** What is built once for all checkouts of this machine. */
const CACHE = join(
  process.env.KEYWEAVE_TELEMETRY_CACHE ??
    join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'keyweave-telemetry'),
  'bin',
);
const BUILD_LIMIT_MS = 3_600_000;

export type ProgramName = keyof typeof PROGRAMS;
export type Programs = Readonly<Record<ProgramName, string>>;

/** A program of the images that compose.telemetry.yaml names, in the same version, as Go has it. */
interface Program {
  /** The tag of the image. */
  readonly tag: string;
  /** Builds it as `to`, in an empty folder. */
  build(folder: string, to: string): Promise<void>;
}

const COLLECTOR = '0.165.0';
const CONFMAP = '1.71.0';
/** Of the parts of the image those that collector.yaml names. */
const COLLECTOR_PARTS = {
  dist: { module: 'keyweave.test/collector', name: 'otelcol', output_path: '.' },
  receivers: [{ gomod: `go.opentelemetry.io/collector/receiver/otlpreceiver v${COLLECTOR}` }],
  processors: [
    { gomod: `go.opentelemetry.io/collector/processor/batchprocessor v${COLLECTOR}` },
    { gomod: `go.opentelemetry.io/collector/processor/memorylimiterprocessor v${COLLECTOR}` },
  ],
  exporters: [
    { gomod: `go.opentelemetry.io/collector/exporter/otlpexporter v${COLLECTOR}` },
    { gomod: `go.opentelemetry.io/collector/exporter/nopexporter v${COLLECTOR}` },
  ],
  providers: [
    { gomod: `go.opentelemetry.io/collector/confmap/provider/envprovider v${CONFMAP}` },
    { gomod: `go.opentelemetry.io/collector/confmap/provider/fileprovider v${CONFMAP}` },
  ],
};

export const PROGRAMS = {
  otelcol: {
    tag: COLLECTOR,
    async build(folder, to) {
      writeFileSync(join(folder, 'build.yaml'), JSON.stringify(COLLECTOR_PARTS));
      const builder = `go.opentelemetry.io/collector/cmd/builder@v${COLLECTOR}`;
      await go(folder, 'run', builder, '--config', 'build.yaml');
      renameSync(join(folder, 'otelcol'), to);
    },
  },
  // One release has two numbers, that of the module and that of the image.
  jaeger: { tag: '2.13.0', build: fromModule('github.com/jaegertracing/jaeger/cmd/jaeger', 'v1.76.0') },
  // Without the ways to find targets that prometheus.yml has no use for, which are most of it.
  prometheus: {
    tag: 'v3.16.0',
    build: fromModule('github.com/prometheus/prometheus/cmd/prometheus', 'v0.316.0', 'remove_all_sd'),
  },
} as const satisfies Record<string, Program>;

/**
 * The paths of the programs, which Go builds where they are not there yet; or that there is no Go here.
 *
 * @throws Error where one cannot be built.
 */
export async function findPrograms(
  progress: (text: string) => void,
): Promise<Programs | { missing: string }> {
  const paths = {} as Record<ProgramName, string>;
  for (const [name, { tag, build }] of Object.entries(PROGRAMS) as [ProgramName, Program][]) {
    const path = join(CACHE, `${name}-${tag}`);
    paths[name] = path;
    if (existsSync(path)) continue;
    if (!(await succeeds('go', ['version']))) return { missing: `there is no Go to build ${name} ${tag}` };
    progress(`building ${name} ${tag}, which takes minutes`);
    const folder = mkdtempSync(join(tmpdir(), 'keyweave-telemetry-'));
    try {
      mkdirSync(CACHE, { recursive: true });
      await build(folder, join(folder, 'built'));
      await run('cp', [join(folder, 'built'), `${path}.new`]);
      renameSync(`${path}.new`, path);
    } catch (error) {
      throw new Error(`${name} ${tag} cannot be built: ${(error as Error).message}`);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return paths;
}

function fromModule(path: string, version: string, tags = ''): Program['build'] {
  return async (folder, to) => {
    await go(folder, 'mod', 'init', 'program');
    await go(folder, 'get', `${path}@${version}`);
    await go(folder, 'build', '-trimpath', '-ldflags=-s -w', `-tags=${tags}`, '-o', to, path);
  };
}

function go(cwd: string, ...args: string[]): Promise<string> {
  return run('go', args, { cwd, env: { CGO_ENABLED: '0' }, limitMs: BUILD_LIMIT_MS });
}
