import type { X509Certificate } from 'node:crypto';
import type { NodeConfig } from '#common/config/node-config.ts';
import { clientSpiffeId } from '#common/tls/spiffe.ts';
import { clientIdentity } from '../client-identity.ts';

/** An application of ETSI GS QKD 014. */
export interface Sae {
  /** SAE ID. */
  readonly id: string;
  /** UUID of the node that it calls. */
  readonly node: string;
  /** The SAE ID as it stands in a URI. */
  readonly name: string;
}

export type RestSettings = NonNullable<NodeConfig['listeners']['rest']>;

/** The SAEs that the listener's settings name: where they are, and who of them has which certificate. */
export class Saes {
  readonly nodeUuid: string;
  readonly #byId = new Map<string, Sae>();
  readonly #byName = new Map<string, Sae>();
  readonly #byIdentity = new Map<string, Sae>();

  /** @param network the SPIFFE trust domain of `keyweave certs issue-client`. */
  constructor(nodeUuid: string, settings: Pick<RestSettings, 'saes'>, network: string) {
    this.nodeUuid = nodeUuid;
    for (const [id, { node = nodeUuid, identity }] of Object.entries(settings.saes)) {
      const sae = { id, node, name: encodeURIComponent(id) };
      this.#byId.set(id, sae);
      this.#byName.set(sae.name, sae);
      if (node === nodeUuid && identity !== undefined) this.#byIdentity.set(identity, sae);
    }
    // One that is named by itself is nobody's but the one for whom a setting gives it.
    for (const [id, { node = nodeUuid, identity }] of Object.entries(settings.saes)) {
      if (node !== nodeUuid || identity !== undefined) continue;
      const names = [id, clientSpiffeId(network, id), `CN:${id}`, `DNS:${id.toLowerCase()}`];
      for (const name of names) {
        if (!this.#byIdentity.has(name)) this.#byIdentity.set(name, this.#byId.get(id) as Sae);
      }
    }
  }

  /** By its SAE ID. */
  find(id: string): Sae | undefined {
    return this.#byId.get(id);
  }

  /** By its SAE ID as it stands in a URI. */
  named(name: string): Sae | undefined {
    return this.#byName.get(name);
  }

  /** The SAE of this node that a certificate names; undefined where it names none. */
  ofCertificate(certificate: X509Certificate): Sae | undefined {
    const identity = clientIdentity(certificate);
    return identity === undefined ? undefined : this.#byIdentity.get(identity);
  }

  /** Those of this node, as masters, each with every one of another node, in the order of the settings. */
  *pairs(): Generator<readonly [Sae, Sae]> {
    for (const master of this.#byId.values()) {
      if (master.node !== this.nodeUuid) continue;
      for (const slave of this.#byId.values()) if (slave.node !== this.nodeUuid) yield [master, slave];
    }
  }
}
