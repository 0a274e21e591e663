import type { X509Certificate } from 'node:crypto';
import { clientSpiffeId } from '#common/tls/spiffe.ts';
import { clientIdentity } from '../client-identity.ts';

/** Who gets keys by their names: an SAE of ETSI GS QKD 014, a system of SKIP. */
export interface Party {
  /** SAE ID, system ID. */
  readonly id: string;
  /** UUID of the node that it calls. */
  readonly node: string;
  /** The ID as it stands in a URI. */
  readonly name: string;
}

/** What a listener's settings say of each party, by its ID. */
export type PartySettings = Readonly<
  Record<string, { readonly node?: string | undefined; readonly identity?: string | undefined }>
>;

/** Those whom the listener's settings name: where they are, and who of them has which certificate. */
export class Parties {
  readonly nodeUuid: string;
  readonly #byId = new Map<string, Party>();
  readonly #byName = new Map<string, Party>();
  readonly #byIdentity = new Map<string, Party>();

  /** @param network the SPIFFE trust domain of `keyweave certs issue-client`. */
  constructor(nodeUuid: string, settings: PartySettings, network: string) {
    this.nodeUuid = nodeUuid;
    for (const [id, { node = nodeUuid, identity }] of Object.entries(settings)) {
      const party = { id, node, name: encodeURIComponent(id) };
      this.#byId.set(id, party);
      this.#byName.set(party.name, party);
      if (node === nodeUuid && identity !== undefined) this.#byIdentity.set(identity, party);
    }
    // One that is named by itself is nobody's but the one for whom a setting gives it.
    for (const [id, { node = nodeUuid, identity }] of Object.entries(settings)) {
      if (node !== nodeUuid || identity !== undefined) continue;
      const names = [id, clientSpiffeId(network, id), `CN:${id}`, `DNS:${id.toLowerCase()}`];
      for (const name of names) {
        if (!this.#byIdentity.has(name)) this.#byIdentity.set(name, this.#byId.get(id) as Party);
      }
    }
  }

  /** By its ID. */
  find(id: string): Party | undefined {
    return this.#byId.get(id);
  }

  /** By its ID as it stands in a URI. */
  named(name: string): Party | undefined {
    return this.#byName.get(name);
  }

  /** The party of this node that a certificate names; undefined where it names none. */
  ofCertificate(certificate: X509Certificate): Party | undefined {
    const identity = clientIdentity(certificate);
    return identity === undefined ? undefined : this.#byIdentity.get(identity);
  }

  /** Those of this node, as masters, each with every one of another node, in the order of the settings. */
  *pairs(): Generator<readonly [Party, Party]> {
    for (const master of this.#byId.values()) {
      if (master.node !== this.nodeUuid) continue;
      for (const slave of this.#byId.values()) if (slave.node !== this.nodeUuid) yield [master, slave];
    }
  }
}
