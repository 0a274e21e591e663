import 'reflect-metadata';
import { createPrivateKey, randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemClock } from '#common/time/clock.ts';
import { DAY_MS } from '#common/time/durations.ts';
import { clientSpiffeId, isClientName, spiffeId } from '#common/tls/spiffe.ts';
import { BACKDATE_MS } from './life.ts';

x509.cryptoProvider.set(webcrypto as never);

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

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
export function issueServiceCertificate(options: IssueOptions): Promise<PemPair> {
  const { network, nodeUuid, service } = options;
  return issueLeaf(options, {
    name: service,
    uri: spiffeId(network, nodeUuid, service),
    names: [service, 'localhost', nodeUuid, ...options.names],
    usages: [x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth],
  });
}

export type IssueClientOptions = Pick<IssueOptions, 'ca' | 'network' | 'days' | 'nowMs'> & {
  /** See isClientName. */
  name: string;
};

/**
 * Issues the certificate of an application or tool (ECDSA P-256) with its
 * SPIFFE URI, for the client's end of mutual TLS alone: no service of a node
 * takes it for one of its own.
 *
 * @throws KeyweaveError BAD_REQUEST where the name is none.
 */
export async function issueClientCertificate(options: IssueClientOptions): Promise<PemPair> {
  const { network, name } = options;
  if (!isClientName(name)) {
    throw new KeyweaveError(
      'BAD_REQUEST',
      `${JSON.stringify(name)} cannot name a client: 1 to 64 letters, digits, '-', '_' and '.', not first`,
    );
  }
  return issueLeaf(options, {
    name,
    uri: clientSpiffeId(network, name),
    names: [],
    usages: [x509.ExtendedKeyUsage.clientAuth],
  });
}

export type IssueServerOptions = Pick<IssueOptions, 'ca' | 'days' | 'nowMs'> & {
  /** A DNS name or an IP address: where clients dial it. */
  name: string;
};

/**
 * Issues the certificate of a server that is no part of a node, such as an
 * OpenTelemetry collector (ECDSA P-256), for the server's end of TLS alone and
 * without a SPIFFE URI: no service takes it for one of a node's.
 */
export function issueServerCertificate(options: IssueServerOptions): Promise<PemPair> {
  const { name } = options;
  return issueLeaf(options, { name, names: [name], usages: [x509.ExtendedKeyUsage.serverAuth] });
}

interface Leaf {
  readonly name: string;
  /** Absent where it names no part of a network. */
  readonly uri?: string;
  /** DNS names and IP addresses. */
  readonly names: readonly string[];
  readonly usages: x509.ExtendedKeyUsage[];
}

async function issueLeaf(
  { ca, days, nowMs }: Pick<IssueOptions, 'ca' | 'days' | 'nowMs'>,
  { name, uri, names, usages }: Leaf,
): Promise<PemPair> {
  const issuer = new x509.X509Certificate(ca.certificate);
  const { key: signingKey, algorithm } = await importCaKey(ca.key);
  const keys = await generateKeys();
  const now = nowMs ?? systemClock.wallMs();
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: `CN=${name}`,
    issuer: issuer.subject,
    notBefore: new Date(now - BACKDATE_MS),
    notAfter: new Date(now + days * DAY_MS),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(usages),
      new x509.SubjectAlternativeNameExtension([
        ...(uri === undefined ? [] : [{ type: 'url' as const, value: uri }]),
        ...[...new Set(names)].map((value) => ({
          type: isIP(value) ? ('ip' as const) : ('dns' as const),
          value,
        })),
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
  const pem = pemText('PRIVATE KEY', der);
  der.fill(0);
  return pem;
}

/** DER as PEM with that label. */
export function pemText(label: string, der: Buffer): string {
  const text = der
    .toString('base64')
    .replaceAll(/(.{64})/g, '$1\n')
    .trimEnd();
  return `-----BEGIN ${label}-----\n${text}\n-----END ${label}-----\n`;
}

/** Reads the CA's key in any PEM form that Node knows, for signing and nothing else. */
export async function importCaKey(pem: string) {
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
