import { createPrivateKey, type X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { caKeyPath } from '#common/tls/certificate-files.ts';
import { readCertificates } from '#common/tls/trust.ts';
import type { PemPair } from './issue.ts';
import { readText } from './read-text.ts';

/** A CA that can issue: the one certificate of the trust file that its key belongs to. */
export interface IssuingCa extends PemPair {
  readonly parsed: X509Certificate;
}

/** Whether the key of a CA lies beside the trust file. */
export function hasCaKey(caPath: string): boolean {
  return existsSync(caKeyPath(caPath));
}

/**
 * Reads a CA with its key. Of several in the trust file it is the one that the
 * key belongs to.
 *
 * @param keyPath by default the .key beside the trust file.
 * @throws KeyweaveError BAD_CONFIG naming the file, and what to do.
 */
export function readIssuingCa(caPath: string, keyPath = caKeyPath(caPath)): IssuingCa {
  const cas = readCas(caPath);
  const key = readText(keyPath, `issue where the CA's key is, or name it with --ca-key`);
  let privateKey: ReturnType<typeof createPrivateKey>;
  try {
    privateKey = createPrivateKey(key);
  } catch (cause) {
    throw new KeyweaveError('BAD_CONFIG', `${keyPath}: is not a PEM private key`, { cause });
  }
  const parsed = cas.find((ca) => ca.checkPrivateKey(privateKey));
  if (!parsed) throw new KeyweaveError('BAD_CONFIG', `${keyPath}: belongs to no CA in ${caPath}`);
  return { parsed, certificate: parsed.toString(), key };
}

/** The CAs of a trust file. @throws KeyweaveError BAD_CONFIG */
export function readCas(caPath: string): X509Certificate[] {
  const pem = readText(caPath, `make a CA with 'keyweave certs ca --out ${dirname(caPath)}'`);
  try {
    return readCertificates(pem);
  } catch (cause) {
    throw new KeyweaveError('BAD_CONFIG', `${caPath}: ${(cause as Error).message}`, { cause });
  }
}
