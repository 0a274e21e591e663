import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Writes the descriptors of the contracts that applications call as a module:
 * what server reflection gives out and `keyweave call` reads. With the
 * comments, which are their documentation.
 */
const FILES = ['keyweave/v1/key_delivery.proto', 'grpc/health/v1/health.proto'];

const PROTO = join(import.meta.dirname, '../../proto');

const [folder = join(PROTO, 'gen')] = process.argv.slice(2);
const set = execFileSync(
  join(PROTO, '../node_modules/.bin/buf'),
  ['build', ...FILES.flatMap((file) => ['--path', file]), '-o', '-#format=binpb'],
  { cwd: PROTO },
);
const lines = set.toString('base64').match(/.{1,100}/g) ?? [];
writeFileSync(
  join(folder, 'descriptors.ts'),
  `/* eslint-disable */
/** A google.protobuf.FileDescriptorSet in base64: ${FILES.join(', ')} and what they import. */
export const DESCRIPTORS =
${lines.map((line) => `  '${line}'`).join(' +\n')};
`,
);
