import 'reflect-metadata';
import { createPrivateKey, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import type { PemPair } from '#certs/issue.ts';

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const HOUR_MS = 3_600_000;

/** Names of a certificate that its owner's application goes by. */
export interface ClientNames {
  /** As in RFC 4514, such as `CN=app`. */
  readonly subject: string;
  readonly names?: readonly { readonly type: 'url' | 'dns' | 'ip' | 'email'; readonly value: string }[];
}

/** Issues an application's certificate with whatever names it shall carry; `ca` is of `createCa`. */
export async function clientCertificate(ca: PemPair, { subject, names = [] }: ClientNames): Promise<PemPair> {
  x509.cryptoProvider.set(webcrypto as never);
  const keys = await webcrypto.subtle.generateKey(EC, true, ['sign', 'verify']);
  const der = createPrivateKey(ca.key).export({ format: 'der', type: 'pkcs8' });
  const signingKey = await webcrypto.subtle.importKey('pkcs8', der, EC, false, ['sign']);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: '01',
    subject,
    issuer: new x509.X509Certificate(ca.certificate).subject,
    notBefore: new Date(Date.now() - HOUR_MS),
    notAfter: new Date(Date.now() + HOUR_MS),
    signingAlgorithm: EC,
    publicKey: keys.publicKey,
    signingKey,
    extensions: names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension([...names])],
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return {
    certificate: certificate.toString('pem'),
    key: `-----BEGIN PRIVATE KEY-----\n${key}\n-----END PRIVATE KEY-----\n`,
  };
}
