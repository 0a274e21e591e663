import { OWN, PEER } from './node-folder.ts';

/** Notes a change of config.json that is refused, by what it is, the key that is at fault and the words. */
type Wrong = (what: string, key: string, words: RegExp, change: Record<string, unknown>) => unknown;

/** Sections `qkd` that must stop a start. */
export function wrongKeyManagers(wrong: Wrong): void {
  wrong('a binary key manager elsewhere without TLS', 'qkd.tls', /is for loopback/, {
    ...{ qkd_address: { host: '192.0.2.1', port: 25_575 }, qkd: { driver: 'etsi004-binary' } },
  });
  wrong('a binary key manager that is to pair by URIs', 'qkd.join', /is for etsi004-json/, {
    qkd: { driver: 'etsi004-binary', join: 'uris' },
  });
  wrong('a key manager of ETSI 014 elsewhere without TLS', 'qkd.tls', /is for loopback/, {
    ...{ qkd_address: { host: '192.0.2.1', port: 443 }, qkd: { driver: 'etsi014' } },
  });
  wrong('two nodes of one SAE id', `qkd.sae_ids.${PEER}`, /is that of node/, {
    qkd: { driver: 'etsi014', sae_ids: { [OWN]: 'one', [PEER]: 'one' } },
  });
  wrong('a SAE id with blanks', `qkd.sae_ids.${PEER}`, /letters, digits and signs/, {
    qkd: { sae_ids: { [PEER]: 'a b' } },
  });
}
