import type { CompatServiceDefinition } from 'nice-grpc';
import { wipe } from '#common/crypto/bytes.ts';
import { leanDefinition } from '#common/grpc/wire/lean-definition.ts';

/** An answer with keys in it, one or many. */
interface WithKeys {
  readonly key?: { readonly key: Uint8Array } | undefined;
  readonly keys?: readonly { readonly key: Uint8Array }[];
}

type Method = { responseSerialize(answer: WithKeys): Uint8Array };

/** The service such that the keys of an answer are wiped as soon as it is laid out for the wire. */
export function wipingDefinition(definition: CompatServiceDefinition): CompatServiceDefinition {
  const lean = leanDefinition(definition) as unknown as Record<string, Method>;
  return Object.fromEntries(
    Object.entries(lean).map(([name, method]) => [
      name,
      {
        ...method,
        responseSerialize: (answer: WithKeys) => {
          try {
            return method.responseSerialize(answer);
          } finally {
            wipe(answer.key?.key, ...(answer.keys ?? []).map(({ key }) => key));
          }
        },
      },
    ]),
  ) as unknown as CompatServiceDefinition;
}
