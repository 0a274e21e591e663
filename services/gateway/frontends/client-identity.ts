import type { X509Certificate } from 'node:crypto';

/** Those that look like names of another kind name nobody. */
const OTHER_URI = /^URI:(?!CN:|DNS:)./i;

/**
 * What a client certificate names its application by: a SPIFFE URI, else
 * another URI, else a DNS name, each the first of its subject alternative
 * names, else the subject's common name. Names of different kinds never
 * compare equal. Undefined where it names nobody.
 */
export function clientIdentity(certificate: X509Certificate): string | undefined {
  // The run time quotes names with odd characters and writes their commas as \u002c: no name is taken for two.
  const names = certificate.subjectAltName?.split(', ') ?? [];
  const first = (start: string) => names.find((name) => name.startsWith(start) && name.length > start.length);
  const uri = first('URI:spiffe://') ?? names.find((name) => OTHER_URI.test(name));
  if (uri !== undefined) return uri.slice('URI:'.length);
  const dns = first('DNS:');
  if (dns !== undefined) return `DNS:${dns.slice('DNS:'.length).toLowerCase()}`;
  return commonName(certificate);
}

/** The one common name of the subject; of several, none is meant more than another. */
function commonName(certificate: X509Certificate): string | undefined {
  const { CN } = certificate.toLegacyObject().subject;
  return typeof CN === 'string' && CN !== '' ? `CN:${CN}` : undefined;
}
