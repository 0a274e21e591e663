import { PROTOCOL_VERSION, VERSION } from '#common/service/version.ts';
import { commitOf, shortCommit } from './commit.ts';

/** One line: the version, the commit, and what decides whether two nodes understand each other. */
export function versionText(commit = commitOf()): string {
  const from = commit === undefined ? 'commit unknown' : `commit ${shortCommit(commit)}`;
  return `${VERSION} (${from}, agreement ${PROTOCOL_VERSION}, Node ${process.versions.node})`;
}
