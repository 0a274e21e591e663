import type { NodeConfig } from '#common/config/node-config.ts';

/** What the settings of a listener that names keys say of them. */
export type NamedKeysSettings = Pick<
  NonNullable<NodeConfig['listeners']['rest']>,
  | 'default_method'
  | 'default_key_sources'
  | 'policy'
  | 'key_size'
  | 'min_key_size'
  | 'max_key_size'
  | 'ready_keys'
  | 'key_ttl'
  | 'max_sae_id_count'
>;
