import { z } from 'zod';
import { listenAddressField } from '#common/config/fields.ts';
import { type NodeConfig, SERVICE_NAMES, type ServiceName } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { parseJson } from '#common/json/parse-json.ts';
import type { ServiceAddresses } from '#common/service/service-context.ts';

const DEFAULT_PORTS: Readonly<Record<ServiceName, number>> = {
  gateway: 50051,
  'qkd-source': 50052,
  'pqc-source': 50053,
  hybridizer: 50054,
  'peer-broker': 50055,
};

const addressesSchema = z.partialRecord(z.enum(SERVICE_NAMES), listenAddressField);

/**
 * Where each service of a node is dialled: the addresses given (JSON) first,
 * then those of the configuration, then the defaults on loopback.
 *
 * @throws KeyweaveError BAD_REQUEST where what is given cannot be read.
 */
export function serviceAddresses(config: NodeConfig, json = '{}'): ServiceAddresses {
  const { data: given, error } = addressesSchema.safeParse(parseJson(json, '--addresses'));
  if (error) {
    const [issue] = error.issues;
    throw new KeyweaveError('BAD_REQUEST', `--addresses: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  return Object.fromEntries(
    SERVICE_NAMES.map((name) => [
      name,
      given[name] ?? config.services[name]?.address ?? { host: '127.0.0.1', port: DEFAULT_PORTS[name] },
    ]),
  ) as ServiceAddresses;
}
