import { THIRD } from './node-folder.ts';

/** Notes a change of config.json that is refused, by what it is, the key that is at fault and the words. */
type Wrong = (what: string, key: string, words: RegExp, change: Record<string, unknown>) => unknown;

/** Policies that must stop a start. */
export function wrongPolicies(wrong: Wrong): void {
  wrong('a policy by a name that there is not', 'policy.sources', /Invalid option/, {
    policy: { sources: 'most' },
  });
  wrong(
    'a policy that what a URI without a query means does not meet',
    'listeners.json.default_key_sources',
    /has no QKD/,
    {
      policy: { sources: 'qkd-required' },
      listeners: { json: { default_key_sources: ['ML-KEM-768'] } },
    },
  );
  wrong('a method of a floor that there is not', 'policy.floor.methods.1', /unknown method "xor"/, {
    policy: { floor: { methods: ['hkdf-sha384', 'xor'] } },
  });
  wrong(
    'a floor above what a URI without a query means',
    'listeners.json.default_key_sources',
    /category 3/,
    {
      policy: { floor: { min_nist_category: 5 } },
      listeners: { json: { default_key_sources: ['ML-KEM-768', 'QKD'] } },
    },
  );
  wrong('a policy for a stranger', `policy.peers.${THIRD}`, /is no trusted peer/, {
    policy: { peers: { [THIRD]: { floor: { min_kinds: 2 } } } },
  });
}
