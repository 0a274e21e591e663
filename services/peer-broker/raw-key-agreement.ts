import { uncopied } from '#common/grpc/wire/lean-definition.ts';
import { KeyAgreementDefinition } from '#gen/keyweave/v1/key_agreement.ts';

/** Methods of KeyAgreement, as the generated clients name them. */
export const METHODS = ['open', 'join', 'produce', 'confirm', 'demand', 'close'] as const;

type MethodName = (typeof METHODS)[number];

interface RawMethodDefinition {
  readonly path: string;
  readonly requestStream: false;
  readonly responseStream: false;
  requestSerialize(bytes: Buffer): Uint8Array;
  requestDeserialize(bytes: Uint8Array): Buffer;
  responseSerialize(bytes: Buffer): Uint8Array;
  responseDeserialize(bytes: Uint8Array): Buffer;
  readonly options: Record<string, never>;
}

export type RawKeyAgreementDefinition = Record<MethodName, RawMethodDefinition>;

const asIs = (bytes: Buffer): Uint8Array => uncopied(bytes);
const received = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);

/** The service's full name, for the list of callers. */
export const KEY_AGREEMENT_NAME = KeyAgreementDefinition.fullName;

/**
 * KeyAgreement without its messages: a relay passes bytes through undecoded,
 * since copying and parsing every batch twice more would cost as much as making it.
 */
export const rawKeyAgreement: RawKeyAgreementDefinition = Object.fromEntries(
  METHODS.map((method): [MethodName, RawMethodDefinition] => [
    method,
    {
      path: `/${KEY_AGREEMENT_NAME}/${KeyAgreementDefinition.methods[method].name}`,
      requestStream: false,
      responseStream: false,
      requestSerialize: asIs,
      requestDeserialize: received,
      responseSerialize: asIs,
      responseDeserialize: received,
      options: {},
    },
  ]),
) as RawKeyAgreementDefinition;
