import type { X509Certificate } from 'node:crypto';
import { UUID_PATTERN } from '#common/ids/uuid.ts';

const SPIFFE = new RegExp(`^spiffe://([a-z0-9._-]+)/node/(${UUID_PATTERN})/([a-z0-9-]+)$`);

export interface SpiffeIdentity {
  readonly network: string;
  readonly nodeUuid: string;
  readonly service: string;
}

/** `spiffe://<network>/node/<uuid>/<service>`: how certificates name their owner. */
export function spiffeId(network: string, nodeUuid: string, service: string): string {
  return `spiffe://${network}/node/${nodeUuid}/${service}`;
}

/** `spiffe://<network>/client/<name>`: how certificates name applications and tools, which are no part of a node. */
export function clientSpiffeId(network: string, name: string): string {
  return `spiffe://${network}/client/${name}`;
}

/** Whether a client may be called so: what a SPIFFE path may hold, of at most 64 characters. */
export function isClientName(name: string): boolean {
  return /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/.test(name);
}

/** The parts of one of our SPIFFE ids; undefined for anything else. */
export function parseSpiffeId(text: string): SpiffeIdentity | undefined {
  const match = SPIFFE.exec(text);
  if (!match) return undefined;
  const [, network = '', nodeUuid = '', service = ''] = match;
  return { network, nodeUuid, service };
}

/**
 * The SPIFFE id of a node's service in a certificate: its one URI name. None,
 * several, or one that is not of our form give undefined. Node quotes names
 * with odd characters, so a quoted entry can never match.
 */
export function spiffeIdOfCertificate(certificate: X509Certificate): string | undefined {
  const only = uriOfCertificate(certificate);
  return only !== undefined && parseSpiffeId(only) ? only : undefined;
}

/** The one URI name of a certificate, whatever its form; undefined where there is none or more than one. */
export function uriOfCertificate(certificate: X509Certificate): string | undefined {
  const names = certificate.subjectAltName?.split(', ') ?? [];
  const uris = names.filter((name) => name.startsWith('URI:'));
  return uris.length === 1 ? uris[0]?.slice('URI:'.length) : undefined;
}
