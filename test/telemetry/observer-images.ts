import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parse } from 'yaml';
import { HOME } from '#common/service/installation.ts';
import { run } from '../containers/command.ts';
import type { Engine } from '../containers/engine.ts';
import type { ProgramName, Programs } from './programs.ts';

/** A published image, as far as compose.telemetry.yaml depends on it. */
interface Published {
  readonly program: ProgramName;
  /** Where the program lies, which is the entry point. */
  readonly path: string;
  readonly user: string;
  /** Volumes, which belong to the owner. */
  readonly volumes: readonly string[];
  readonly owner: number;
}

const NOBODY = 65_534;

/** By their services in compose.telemetry.yaml. */
const PUBLISHED: Readonly<Record<string, Published>> = {
  collector: { program: 'otelcol', path: '/otelcol', user: '10001', volumes: [], owner: 0 },
  jaeger: {
    program: 'jaeger',
    path: '/cmd/jaeger/jaeger-linux',
    user: '10001',
    volumes: ['/tmp'],
    owner: 0,
  },
  prometheus: {
    program: 'prometheus',
    path: '/bin/prometheus',
    user: 'nobody',
    volumes: ['/prometheus'],
    owner: NOBODY,
  },
};

/**
 * Gives an engine the images that compose.telemetry.yaml names, of programs
 * that were built here, where it does not have them. Grafana's is empty: it is
 * not started, but Compose wants to have it.
 *
 * @returns what removes those that were made, so that nobody takes them for the published ones.
 */
export async function makeObserverImages(engine: Engine, programs: Programs): Promise<() => Promise<void>> {
  const { services } = parse(readFileSync(join(HOME, 'deploy/compose.telemetry.yaml'), 'utf8'), {
    merge: true,
  }) as { services: Record<string, { image: string }> };
  const made: string[] = [];
  for (const service of [...Object.keys(PUBLISHED), 'grafana']) {
    const name = services[service]?.image;
    if (!name) throw new Error(`compose.telemetry.yaml has no image for ${service}`);
    if (await engine.succeeds(['image', 'inspect', name])) continue;
    await importImage(engine, name, PUBLISHED[service], programs);
    made.push(name);
  }
  return async () => {
    if (made.length > 0) await engine.attempt(['image', 'rm', '--force', ...made]);
  };
}

async function importImage(
  engine: Engine,
  name: string,
  published: Published | undefined,
  programs: Programs,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-observer-'));
  const root = join(folder, 'root');
  mkdirSync(join(root, 'etc'), { recursive: true });
  writeFileSync(join(root, 'etc/passwd'), `nobody:x:${NOBODY}:${NOBODY}::/:/bin/false\n`);
  const changes: string[] = [];
  try {
    if (published) {
      const { program, path, user, volumes, owner } = published;
      mkdirSync(dirname(join(root, path)), { recursive: true });
      copyFileSync(programs[program], join(root, path));
      chmodSync(join(root, path), 0o755);
      for (const volume of volumes) {
        mkdirSync(join(root, volume));
        chownSync(join(root, volume), owner, owner);
        changes.push(`VOLUME ${volume}`);
      }
      changes.push(`ENTRYPOINT ["${path}"]`, `USER ${user}`);
    }
    const archive = join(folder, 'image.tar');
    await run('tar', ['--create', '--numeric-owner', `--file=${archive}`, `--directory=${root}`, '.']);
    await engine.run(['import', ...changes.flatMap((change) => ['--change', change]), archive, name]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
