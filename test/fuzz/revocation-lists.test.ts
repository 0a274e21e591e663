import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { createCa, issueClientCertificate, pemText } from '#certs/issue.ts';
import { revoke } from '#certs/revoke.ts';
import { pemBlocks } from '#common/tls/x509/pem-blocks.ts';
import { readRevocationLists } from '#common/tls/x509/revocation-list.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { mutated } from './hostile-bytes.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-lists-'));
const ca = await createCa({ network: 'keyweave', days: 1 });
const issuing = { ...ca, parsed: new X509Certificate(ca.certificate) };
const crlPath = join(folder, 'ca.crl');
const clients = await Promise.all(
  ['a', 'b'].map((name) => issueClientCertificate({ ca, network: 'keyweave', name, days: 1 })),
);
/** Lists of none, one and two certificates. */
const SOUND = [0, 1, 2].map((count) => {
  const certificates = clients.slice(0, count).map(({ certificate }) => new X509Certificate(certificate));
  revoke({ ca: issuing, crlPath, certificates, reason: 'keyCompromise', days: 1 });
  return pemBlocks(readFileSync(crlPath, 'latin1'), 'X509 CRL')[0] as Buffer;
});
rmSync(folder, { recursive: true });

describe('a revocation list that somebody has spoilt', () => {
  it('is refused as a whole, or read and not believed', () => {
    fc.assert(
      fc.property(fc.oneof(mutated(SOUND), fc.uint8Array({ maxLength: 300 })), (bytes) => {
        let lists: ReturnType<typeof readRevocationLists>;
        try {
          lists = readRevocationLists(pemText('X509 CRL', Buffer.from(bytes)));
        } catch (error) {
          assert.ok(error instanceof Error && !(error instanceof TypeError), String(error));
          return;
        }
        const isSound = SOUND.some((sound) => sound.equals(bytes));
        assert.equal(lists[0]?.isSignedBy(issuing.parsed.publicKey), isSound);
      }),
      fuzzParameters(20_000),
    );
  });
});
