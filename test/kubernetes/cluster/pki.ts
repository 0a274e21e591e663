import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto as never);

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAYS = 2;
const DAY_MS = 86_400_000;

/** PEM. */
export interface KeyAndCertificate {
  readonly key: string;
  readonly certificate: string;
}

/** What the parts of a test cluster know each other by; made anew for each cluster. */
export class ClusterPki {
  readonly ca: KeyAndCertificate;
  readonly #keys: webcrypto.CryptoKeyPair;

  private constructor(keys: webcrypto.CryptoKeyPair, ca: KeyAndCertificate) {
    this.#keys = keys;
    this.ca = ca;
  }

  static async create(): Promise<ClusterPki> {
    const keys = await generateKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      ...dates(),
      serialNumber: '01',
      name: 'CN=test-cluster',
      signingAlgorithm: EC,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(
          x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.digitalSignature,
          true,
        ),
      ],
    });
    return new ClusterPki(keys, { key: await pemOf(keys), certificate: certificate.toString('pem') });
  }

  /**
   * @param subject as Kubernetes reads it: O is the group, CN the user.
   * @param names DNS names and addresses of a server.
   */
  async issue(subject: string, names: readonly string[] = []): Promise<KeyAndCertificate> {
    const keys = await generateKeys();
    const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
    const certificate = await x509.X509CertificateGenerator.create({
      ...dates(),
      serialNumber: Buffer.from(webcrypto.getRandomValues(new Uint8Array(8)).fill(1, 0, 1)).toString('hex'),
      subject,
      issuer: 'CN=test-cluster',
      signingAlgorithm: EC,
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      extensions: [
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([serverAuth, clientAuth]),
        ...(names.length === 0
          ? []
          : [
              new x509.SubjectAlternativeNameExtension(
                names.map((value) => ({ type: isIP(value) ? ('ip' as const) : ('dns' as const), value })),
              ),
            ]),
      ],
    });
    return { key: await pemOf(keys), certificate: certificate.toString('pem') };
  }

  /** The text of a kubeconfig of a user. */
  async kubeconfig(server: string, subject: string): Promise<string> {
    const { key, certificate } = await this.issue(subject);
    const data = (text: string) => Buffer.from(text).toString('base64');
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        { name: 'test', cluster: { server, 'certificate-authority-data': data(this.ca.certificate) } },
      ],
      users: [
        {
          name: 'user',
          user: { 'client-certificate-data': data(certificate), 'client-key-data': data(key) },
        },
      ],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'user' } }],
      'current-context': 'test',
    });
  }

  /** PEM of a pair that signs tokens of service accounts, and checks them. */
  static async signingKeys(): Promise<{ readonly key: string; readonly publicKey: string }> {
    const keys = await generateKeys();
    const der = Buffer.from(await webcrypto.subtle.exportKey('spki', keys.publicKey));
    return { key: await pemOf(keys), publicKey: pem('PUBLIC KEY', der) };
  }
}

function dates() {
  const now = Date.now();
  return { notBefore: new Date(now - DAY_MS), notAfter: new Date(now + DAYS * DAY_MS) };
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(EC, true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>;
}

async function pemOf({ privateKey }: webcrypto.CryptoKeyPair): Promise<string> {
  return pem('PRIVATE KEY', Buffer.from(await webcrypto.subtle.exportKey('pkcs8', privateKey)));
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n');
}
