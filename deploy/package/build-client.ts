import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { HOME } from '#common/service/installation.ts';

/**
 * The client library as a package of its own, `@keyweave/client`, ready for
 * `npm pack`: what `services/client/main.ts` reaches and nothing else, with
 * its types, manual and examples. Its version is the node's.
 */
export const CLIENT_FOLDER = `${HOME}.cache/client-package`;

interface Manifest {
  readonly version: string;
  readonly license: string;
  readonly repository: object;
  readonly engines: object;
  readonly dependencies: Readonly<Record<string, string>>;
}

/** Compiles and lays out the package anew. */
export function buildClient(): void {
  rmSync(CLIENT_FOLDER, { recursive: true, force: true });
  mkdirSync(CLIENT_FOLDER, { recursive: true });
  const project = `${HOME}deploy/package/client.tsconfig.json`;
  execFileSync(`${HOME}node_modules/.bin/tsc`, ['--project', project], { stdio: 'inherit' });
  cpSync(`${HOME}LICENSE`, `${CLIENT_FOLDER}/LICENSE`);
  cpSync(`${HOME}services/client/README.md`, `${CLIENT_FOLDER}/README.md`);
  cpSync(`${HOME}services/client/examples`, `${CLIENT_FOLDER}/examples`, { recursive: true });
  writeFileSync(`${CLIENT_FOLDER}/package.json`, `${JSON.stringify(manifest(), undefined, 2)}\n`);
}

function manifest(): object {
  const { version, license, repository, engines, dependencies } = JSON.parse(
    readFileSync(`${HOME}package.json`, 'utf8'),
  ) as Manifest;
  const main = './dist/services/client/main';
  // What only gRPC takes: who speaks JSON or the binary protocol installs nothing beside this package.
  const forGrpc = ['@bufbuild/protobuf', '@grpc/grpc-js'] as const;
  return {
    name: '@keyweave/client',
    version,
    description:
      'Keys of a Keyweave node for applications: ETSI GS QKD 004 over JSON, its binary protocol or gRPC',
    keywords: ['qkd', 'etsi', 'post-quantum', 'key-delivery'],
    ...{ license, repository, engines },
    type: 'module',
    files: ['dist', 'examples'],
    exports: {
      '.': { types: `${main}.d.ts`, default: `${main}.js` },
      './package.json': './package.json',
    },
    imports: {
      '#common/*.ts': './dist/services/common/*.js',
      '#gen/*.ts': './dist/proto/gen/*.js',
    },
    peerDependencies: Object.fromEntries(forGrpc.map((name) => [name, `^${dependencies[name]}`])),
    peerDependenciesMeta: Object.fromEntries(forGrpc.map((name) => [name, { optional: true }])),
  };
}

if (import.meta.main) {
  buildClient();
  process.stdout.write(`${CLIENT_FOLDER}\n`);
}
