import type { SourcePolicy } from '#common/policy/policy-section.ts';

/** What each policy lets be left out, written down a second time. */
export const MAY_LACK: Readonly<Record<SourcePolicy, readonly ('qkd' | 'pqc')[]>> = {
  all: [],
  'qkd-required': ['pqc'],
  'pqc-required': ['qkd'],
  any: ['qkd', 'pqc'],
};
