import { copyFileSync, existsSync, globSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HOME } from '#common/service/installation.ts';
import { VERSION } from '#common/service/version.ts';
import { run } from '../containers/command.ts';
import type { Engine } from '../containers/engine.ts';
import { ensureBaseImage, removeStandIn } from '../containers/stand-in-base.ts';
import { PAUSE_IMAGE } from './cluster/one-node.ts';
import { PROGRAMS } from './cluster/programs.ts';

/** An upgrade goes from the first tag to the second. */
export const REPOSITORY = 'keyweave.example/keyweave';
const NAME = `${REPOSITORY}:test`;
const OTHER_NAMES = [
  `${REPOSITORY}:next`,
  // As the chart names it where nobody says anything else.
  `keyweave:${VERSION}`,
] as const;

export interface ImageArchives {
  /** The product's image, under all its names. */
  readonly keyweave: string;
  readonly pause: string;
}

/** Builds the image in an engine, and leaves archives for the cluster. */
export async function buildImages(engine: Engine, progress: (text: string) => void): Promise<ImageArchives> {
  const folder = join(HOME, '.cache', 'kubernetes');
  mkdirSync(folder, { recursive: true });
  const keyweave = join(folder, 'keyweave.tar');
  const pause = join(PROGRAMS, 'pause.tar');
  try {
    progress(`${engine.description} answers`);
    progress(await ensureBaseImage(engine));
    if (!existsSync(pause)) await packPause(engine, folder, pause);
    await buildKeyweave(engine, keyweave);
  } finally {
    await removeStandIn(engine);
  }
  return { keyweave, pause };
}

async function buildKeyweave(engine: Engine, archive: string): Promise<void> {
  const hasAddon = globSync(join(HOME, 'services/pqc-source/native/*.node')).length > 0;
  const env = { ...engine.env, KEYWEAVE_IMAGE: NAME, KEYWEAVE_NATIVE: hasAddon ? 'prebuilt' : 'skip' };
  try {
    await run('make', ['--no-print-directory', 'images'], { cwd: HOME, env });
    for (const other of OTHER_NAMES) await engine.run(['tag', NAME, other]);
    await engine.run(['save', '--output', archive, NAME, ...OTHER_NAMES]);
  } finally {
    await engine.attempt(['image', 'rm', '--force', NAME, ...OTHER_NAMES]);
  }
}

/** The one program that a pod's first container has, as an image. */
async function packPause(engine: Engine, folder: string, archive: string): Promise<void> {
  const root = mkdtempSync(join(folder, 'pause-'));
  try {
    copyFileSync(join(PROGRAMS, 'pause'), join(root, 'pause'));
    await run('tar', ['--create', `--file=${root}.tar`, `--directory=${root}`, 'pause']);
    await engine.run(['import', '--change', 'ENTRYPOINT ["/pause"]', `${root}.tar`, PAUSE_IMAGE]);
    await engine.run(['save', '--output', `${archive}.new`, PAUSE_IMAGE]);
    renameSync(`${archive}.new`, archive);
  } finally {
    await engine.attempt(['image', 'rm', '--force', PAUSE_IMAGE]);
    for (const path of [root, `${root}.tar`]) rmSync(path, { recursive: true, force: true });
  }
}
