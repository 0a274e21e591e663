import { isDeepStrictEqual } from 'node:util';
import { loadPeers } from '#common/config/load.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import type { TrustedPeers } from '#common/config/trusted-peers.ts';
import { watchFiles } from '#common/config/watch-files.ts';
import { equalBytes } from '#common/crypto/bytes.ts';
import type { Log } from '#common/log/log.ts';

/** What another reading of the file has brought, by UUID of the node. */
export interface PeersChange {
  readonly added: readonly string[];
  /** Not trusted any more: nothing may be done with or for them from now on. */
  readonly removed: readonly string[];
  /** Trusted as before, with another address or shared_seed. */
  readonly changed: readonly string[];
}

/** The trusted peers, and word of what becomes of them. */
export interface LivePeers {
  /**
   * By UUID: one record for the life of the process, which changes as the file
   * does. Whoever holds it sees the peers as they are; nobody may keep an entry.
   */
  readonly current: TrustedPeers;
  /** Calls `listener` after each change, until what it gives is called. */
  onChange(listener: (change: PeersChange) => void): () => void;
}

export interface TrustedPeersFile extends LivePeers {
  close(): void;
}

/**
 * Reads trusted_peers_info.json, and again whenever it changes. A file that is
 * not sound keeps the old peers, and the log says why. The shared_seed of a
 * peer that has gone or has another one is wiped after the listeners have run.
 *
 * @param config the node's own, which the peers are judged by.
 * @throws KeyweaveError BAD_CONFIG when the first reading fails.
 */
export function watchTrustedPeers(
  path: string,
  { log, config, pollMs }: { log: Log; config?: NodeConfig; pollMs?: number },
): TrustedPeersFile {
  const listeners = new Set<(change: PeersChange) => void>();
  const file = watchFiles([path], reload, pollMs);
  const current: TrustedPeers = {};
  try {
    Object.assign(current, loadPeers(path, config));
  } catch (error) {
    file.close();
    throw error;
  }

  function reload(again: boolean): boolean {
    let next: TrustedPeers;
    try {
      next = loadPeers(path, config);
    } catch (error) {
      if (again) log.warning('the file of trusted peers is not usable, the old peers stay', { path }, error);
      return false;
    }
    const before = { ...current };
    const change = changeOf(before, next);
    const { added, removed, changed } = change;
    for (const [uuid, { shared_seed: seed }] of Object.entries(next))
      if (![...added, ...changed].includes(uuid)) seed?.wipe();
    if (added.length + removed.length + changed.length === 0) return true;
    for (const uuid of removed) delete current[uuid];
    for (const uuid of [...added, ...changed]) current[uuid] = next[uuid] as TrustedPeers[string];
    log.info('trusted peers read again', {
      path,
      added: added.join(', ') || undefined,
      removed: removed.join(', ') || undefined,
      changed: changed.join(', ') || undefined,
    });
    for (const listener of listeners) listener(change);
    for (const uuid of [...removed, ...changed]) before[uuid]?.shared_seed?.wipe();
    return true;
  }

  return {
    current,
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: () => file.close(),
  };
}

function changeOf(before: TrustedPeers, after: TrustedPeers): PeersChange {
  const [old, now] = [Object.keys(before), Object.keys(after)];
  return {
    added: now.filter((uuid) => !Object.hasOwn(before, uuid)),
    removed: old.filter((uuid) => !Object.hasOwn(after, uuid)),
    changed: now.filter((uuid) => Object.hasOwn(before, uuid) && !isSameEntry(before[uuid], after[uuid])),
  };
}

type Entry = TrustedPeers[string] | undefined;

function isSameEntry(one: Entry, other: Entry): boolean {
  const [a, b] = [one?.shared_seed, other?.shared_seed];
  const sameSeed = a && b ? equalBytes(a.expose(), b.expose()) : a === b;
  return sameSeed && isDeepStrictEqual(one?.address, other?.address);
}
