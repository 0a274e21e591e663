import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { run, succeeds } from '../containers/command.ts';

const VERSION = 'v1.9.3';

/** What is built once for all checkouts of this machine. */
const CACHE = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');

const BUILD_LIMIT_MS = 1_200_000;

/**
 * The folder of grpcurl, which Go builds where it is not there yet; undefined
 * where the one on PATH does; or why there is none.
 * @throws Error when Go cannot build it.
 */
export async function findGrpcurl(): Promise<{ folder?: string } | { missing: string }> {
  if (await succeeds('grpcurl', ['-version'])) return {};
  const cache = join(CACHE, 'keyweave-grpcurl');
  const folder = join(cache, VERSION);
  if (existsSync(join(folder, 'grpcurl'))) return { folder };
  if (!(await succeeds('go', ['version']))) return { missing: `there is no Go to build grpcurl ${VERSION}` };
  mkdirSync(cache, { recursive: true });
  const built = mkdtempSync(join(cache, 'building-'));
  try {
    const module = `github.com/fullstorydev/grpcurl/cmd/grpcurl@${VERSION}`;
    const env = { GOBIN: built, CGO_ENABLED: '0' };
    await run('go', ['install', module], { cwd: built, env, limitMs: BUILD_LIMIT_MS });
    mkdirSync(folder, { recursive: true });
    renameSync(join(built, 'grpcurl'), join(folder, 'grpcurl'));
    return { folder };
  } finally {
    rmSync(built, { recursive: true, force: true });
  }
}
