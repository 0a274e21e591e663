import { ServerReflection, ServerReflectionService } from 'nice-grpc-server-reflection';
import type { NodeConfig } from '#common/config/node-config.ts';
import { ANYBODY, startGrpcServer } from '#common/grpc/server.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { clientTrust } from '#common/tls/client-trust.ts';
import { DESCRIPTORS } from '#gen/descriptors.ts';
import { HealthDefinition } from '#gen/grpc/health/v1/health.ts';
import { KeyDeliveryDefinition } from '#gen/keyweave/v1/key_delivery.ts';
import type { KeyDelivery, StreamDirectory } from '../../delivery/key-delivery.ts';
import { clientIdentity } from '../client-identity.ts';
import type { FrontEnd } from '../frontend.ts';
import { createKeyDeliveryService } from './calls.ts';
import { wipingDefinition } from './wiping-definition.ts';

const REFLECTION = 'grpc.reflection.v1.ServerReflection';

/**
 * Keys over gRPC (proto/keyweave/v1/key_delivery.proto), with reflection and
 * health, over TLS 1.3 with client certificates.
 *
 * @param settings the listener's section of config.json, which is there.
 */
export async function startGrpcApi(
  context: ServiceContext,
  delivery: KeyDelivery,
  directory: StreamDirectory,
  settings: NonNullable<NodeConfig['listeners']['grpc']>,
): Promise<FrontEnd> {
  const trusted = clientTrust(context.identity, settings.client_ca_path, context.log);
  const { fullName } = KeyDeliveryDefinition;
  try {
    const server = await startGrpcServer(context, {
      address: { host: settings.host, port: settings.port },
      applications: { trusted, nameOf: clientIdentity, setting: 'listeners.grpc' },
      services: [
        {
          definition: wipingDefinition(KeyDeliveryDefinition),
          fullName,
          implementation: createKeyDeliveryService({ delivery, directory, settings }),
          callers: ANYBODY,
        },
        {
          definition: ServerReflectionService as never,
          fullName: REFLECTION,
          implementation: ServerReflection(Buffer.from(DESCRIPTORS, 'base64'), [
            fullName,
            HealthDefinition.fullName,
          ]),
          callers: ANYBODY,
        },
      ],
    });
    return {
      listening: { 'public-grpc': server.address },
      stop: async () => {
        await server.stop();
        trusted.close();
      },
    };
  } catch (error) {
    trusted.close();
    throw error;
  }
}
