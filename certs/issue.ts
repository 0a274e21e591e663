import 'reflect-metadata';
import { createPrivateKey, randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemClock } from '#common/time/clock.ts';
import { spiffeId } from '#common/tls/spiffe.ts';

x509.cryptoProvider.set(webcrypto as never);

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
/** Clocks of different machines differ a little. */
const BACKDATE_MS = 5 * 60_000;

export interface PemPair {
  readonly certificate: string;
  readonly key: string;
}

/** Makes a self-signed CA (ECDSA P-256). The caller keeps the key. */
export async function createCa(options: { network: string; days: number; nowMs?: number }): Promise<PemPair> {
  const keys = await generateKeys();
  const now = options.nowMs ?? systemClock.wallMs();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=Keyweave CA ${options.network}`,
    notBefore: new Date(now - BACKDATE_MS),
    notAfter: new Date(now + options.days * DAY_MS),
    signingAlgorithm: EC,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: certificate.toString('pem'), key: await exportKey(keys.privateKey) };
}

export interface IssueOptions {
  /** PEM of the CA; EC or RSA, as the reference's script makes them. */
  ca: PemPair;
  network: string;
  nodeUuid: string;
  service: string;
  /** DNS names and IP addresses besides the service's own. */
  names: readonly string[];
  /** Life in days; fractions are allowed. */
  days: number;
  nowMs?: number;
}

/** Issues one service's certificate (ECDSA P-256) with its SPIFFE URI, for both ends of mutual TLS. */
export async function issueServiceCertificate(options: IssueOptions): Promise<PemPair> {
  const { ca, network, nodeUuid, service } = options;
  const issuer = new x509.X509Certificate(ca.certificate);
  const { key: signingKey, algorithm } = await importCaKey(ca.key);
  const keys = await generateKeys();
  const now = options.nowMs ?? systemClock.wallMs();
  const names = new Set([service, 'localhost', nodeUuid, ...options.names]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: `CN=${service}`,
    issuer: issuer.subject,
    notBefore: new Date(now - BACKDATE_MS),
    notAfter: new Date(now + options.days * DAY_MS),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.SubjectAlternativeNameExtension([
        { type: 'url', value: spiffeId(network, nodeUuid, service) },
        ...[...names].map((value) => ({ type: isIP(value) ? ('ip' as const) : ('dns' as const), value })),
      ]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return { certificate: certificate.toString('pem'), key: await exportKey(keys.privateKey) };
}

function generateKeys() {
  return webcrypto.subtle.generateKey(EC, true, ['sign', 'verify']) as Promise<CryptoKeyPair>;
}

type CryptoKeyPair = webcrypto.CryptoKeyPair;

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  const text = der
    .toString('base64')
    .replaceAll(/(.{64})/g, '$1\n')
    .trimEnd();
  der.fill(0);
  return `-----BEGIN PRIVATE KEY-----\n${text}\n-----END PRIVATE KEY-----\n`;
}

/** Reads the CA's key in any PEM form that Node knows. */
async function importCaKey(pem: string) {
  let key: ReturnType<typeof createPrivateKey>;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw new KeyweaveError('BAD_CONFIG', 'the CA key cannot be read', { cause });
  }
  const algorithm =
    key.asymmetricKeyType === 'rsa'
      ? { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
      : { name: 'ECDSA', hash: 'SHA-256', namedCurve: webCurve(key.asymmetricKeyDetails?.namedCurve) };
  const der = key.export({ format: 'der', type: 'pkcs8' });
  const imported = await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
  der.fill(0);
  return { key: imported, algorithm };
}

function webCurve(name: string | undefined): string {
  switch (name) {
    case 'secp384r1':
      return 'P-384';
    case 'secp521r1':
      return 'P-521';
    default:
      return 'P-256';
  }
}

function serialNumber(): string {
  const bytes = randomBytes(16);
  // Positive and of full length (RFC 5280, 4.1.2.2).
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40;
  return bytes.toString('hex');
}
