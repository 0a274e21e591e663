import { watchFiles } from '#common/config/watch-files.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import { datedCertificate } from '#common/tls/certificate-dates.ts';
import { watchExpiry } from '#common/tls/expiry-watch.ts';
import type { TlsIdentity } from '#common/tls/identity.ts';
import { readTrust, type Trust } from '#common/tls/trust.ts';

/** What a listener presents, and whose clients it lets in. */
export interface ListenerIdentity extends Pick<TlsIdentity, 'pems' | 'trust' | 'onChange'> {
  close(): void;
}

/**
 * The service's own certificate, with clients of other CAs than the network's:
 * applications' own, or the very certificates of clients that have signed
 * theirs themselves. The file is read again when it changes; one that cannot
 * be read leaves the last in use. The log tells of those that come to their
 * end; the service does its part without them.
 *
 * @param caPath PEM; absent: the network's CAs.
 * @throws KeyweaveError BAD_CONFIG naming the file.
 */
export function clientTrust(
  identity: Pick<TlsIdentity, 'pems' | 'trust' | 'onChange'>,
  caPath: string | undefined,
  log: Pick<Log, 'info' | 'warning' | 'error'>,
  pollMs?: number,
): ListenerIdentity {
  if (caPath === undefined) {
    return {
      get pems() {
        return identity.pems;
      },
      get trust() {
        return identity.trust;
      },
      onChange: (listener) => identity.onChange(listener),
      close: () => undefined,
    };
  }
  const listeners = new Set<() => void>();
  let trust: Trust;
  const files = watchFiles([caPath], reload, pollMs);
  try {
    trust = read(caPath);
  } catch (error) {
    files.close();
    throw error;
  }

  const expiry = watchExpiry({
    certificates: () =>
      trust.cas.map((ca) => datedCertificate(ca, { kind: 'ca', path: caPath, needed: false })),
    log,
  });

  function reload(again: boolean): boolean {
    try {
      trust = read(caPath as string);
    } catch (error) {
      if (again)
        log.warning('the new CAs of clients are not usable, the old ones stay', { path: caPath }, error);
      return false;
    }
    log.info('the CAs of clients were reloaded', { path: caPath, cas: trust.cas.length });
    for (const listener of listeners) listener();
    return true;
  }

  return {
    get pems() {
      return { ...identity.pems, ca: trust.pem };
    },
    get trust() {
      return trust;
    },
    onChange(listener) {
      listeners.add(listener);
      const unsubscribe = identity.onChange(listener);
      return () => {
        listeners.delete(listener);
        unsubscribe();
      };
    },
    close: () => {
      expiry.close();
      files.close();
    },
  };
}

function read(caPath: string): Trust {
  try {
    return readTrust(caPath);
  } catch (cause) {
    throw new KeyweaveError('BAD_CONFIG', (cause as Error).message, { cause });
  }
}
