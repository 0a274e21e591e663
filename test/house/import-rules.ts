import { matchesGlob } from 'node:path';
import { type Import, importsOf, modulesOf } from './imports.ts';

/** The rooms of the gateway below its main.ts, the upper first: arrows only go down. */
export const GATEWAY_ROOMS = [
  'telemetry',
  'frontends',
  'delivery',
  'opening',
  'production',
  'reservoirs',
  'store',
  'streams',
  'clients',
] as const;

export type GatewayRoom = (typeof GATEWAY_ROOMS)[number];

interface Rule {
  /** The files that it holds for, as a glob; the last one that fits a file counts. */
  readonly files: string;
  /** What they may import, as globs. */
  readonly may: readonly string[];
  /** The same in words. */
  readonly words: string;
}

const SHARED = ['services/common/**', 'proto/gen/**', 'certs/**'];
const GATEWAY = 'services/gateway';
/** Who owns a stream is found at the door, from the caller's certificate. */
const OWNER = `${GATEWAY}/streams/owner.ts`;

function service(name: string): Rule {
  return {
    files: `services/${name}/**`,
    may: [`services/${name}/**`, ...SHARED],
    words: 'a service imports #common, #gen, #certs and itself',
  };
}

/** A room imports itself and the rooms below it. */
function room(name: GatewayRoom): Rule {
  const below = GATEWAY_ROOMS.slice(GATEWAY_ROOMS.indexOf(name) + 1);
  return {
    files: `${GATEWAY}/${name}/**`,
    may: [...[name, ...below].map((each) => `${GATEWAY}/${each}/**`), ...SHARED],
    words:
      below.length === 0
        ? `${name} imports no other room of the gateway`
        : `${name} imports no room of the gateway but those below it: ${below.join(', ')}`,
  };
}

/** The two roles of production do not know each other. */
function role(name: 'initiator' | 'responder', other: string): Rule {
  const { may } = room('production');
  return {
    files: `${GATEWAY}/production/${name}/**`,
    may: may.flatMap((glob) =>
      glob === `${GATEWAY}/production/**`
        ? [`${GATEWAY}/production/*.ts`, `${GATEWAY}/production/${name}/**`]
        : [glob],
    ),
    words: `${name} imports what production shares and the rooms below it, not ${other}`,
  };
}

/** Rooms that a front end calls, where that is not the delivery alone. */
const CALLS_OF: Readonly<Record<string, readonly GatewayRoom[]>> = {
  peer: ['delivery', 'opening', 'production', 'store', 'streams'],
  // It shows what they hold, as telemetry does.
  console: ['delivery', 'reservoirs', 'streams'],
};

/** Folders of what some front ends share: each imports itself and those that stand before it. */
const SHARED_BY_FRONTENDS = ['http', 'named-keys'] as const;

/** A front end imports itself, what front ends share, and the rooms that it calls. */
function frontend(name: string, calls: readonly GatewayRoom[]): Rule {
  return {
    files: `${GATEWAY}/frontends/${name}/**`,
    may: [
      ...[
        'frontends/*.ts',
        ...[...SHARED_BY_FRONTENDS, name].map((each) => `frontends/${each}/**`),
        ...calls.map((each) => `${each}/**`),
      ].map((glob) => `${GATEWAY}/${glob}`),
      OWNER,
      ...SHARED,
    ],
    words: `the front end ${name} imports what front ends share, and of the rooms ${calls.join(', ')} (and who owns a stream)`,
  };
}

function sharedByFrontends(name: string, before: readonly string[]): Rule {
  const shared = [...before, name].map((each) => `${GATEWAY}/frontends/${each}/**`);
  return {
    files: `${GATEWAY}/frontends/${name}/**`,
    may: [`${GATEWAY}/frontends/*.ts`, ...shared, `${GATEWAY}/delivery/**`, OWNER, ...SHARED],
    words: `${name} is shared by front ends: it imports no front end, and no room but delivery (and who owns a stream)`,
  };
}

/** Which files may import what, for a tree with these files. */
function rulesFor(paths: readonly string[]): Rule[] {
  const names = (pattern: RegExp) => new Set(paths.flatMap((path) => pattern.exec(path)?.[1] ?? []));
  return [
    { files: 'certs/**', may: ['certs/**', 'services/common/**'], words: 'certs imports #common and itself' },
    ...[...names(/^services\/([^/]+)\//)].map(service),
    {
      files: 'services/common/**',
      may: ['services/common/**', 'proto/gen/**'],
      words: 'services/common imports #gen and itself',
    },
    {
      files: 'services/client/**',
      may: ['services/client/**', 'services/common/**', 'proto/gen/**'],
      words: 'the client library, which is packed on its own, imports #common, #gen and itself',
    },
    {
      files: 'services/cli/**',
      may: ['services/cli/**', 'services/*/main.ts', ...SHARED],
      words: 'the command line imports of a service its main.ts only',
    },
    {
      files: `${GATEWAY}/*/**`,
      may: [],
      words: `the rooms of the gateway are ${GATEWAY_ROOMS.join(', ')}; this folder is none of them`,
    },
    ...GATEWAY_ROOMS.map(room),
    role('initiator', 'responder'),
    role('responder', 'initiator'),
    {
      files: `${GATEWAY}/frontends/**`,
      may: [`${GATEWAY}/frontends/*.ts`, `${GATEWAY}/delivery/**`, OWNER, ...SHARED],
      words: 'what front ends share imports no room but delivery (and who owns a stream), and no front end',
    },
    ...[...names(/^services\/gateway\/frontends\/([^/]+)\//)].map((name) =>
      frontend(name, CALLS_OF[name] ?? ['delivery']),
    ),
    ...SHARED_BY_FRONTENDS.map((name, i) => sharedByFrontends(name, SHARED_BY_FRONTENDS.slice(0, i))),
    { files: '**/*.test.ts', may: ['**'], words: 'tests import what they like' },
    { files: 'test/**', may: ['**'], words: 'tests import what they like' },
  ];
}

/** An import that no rule allows. */
export interface Breach extends Import {
  readonly path: string;
  /** The rule in words. */
  readonly words: string;
}

/** Every import of the tree that goes where it must not, in the order of the files. */
export function importBreaches(root: string): Breach[] {
  const paths = modulesOf(root);
  const rules = rulesFor(paths);
  return paths.flatMap((path) => {
    const rule = rules.findLast(({ files }) => matchesGlob(path, files));
    if (!rule) throw new Error(`no rule of imports is for ${path}`);
    const { may, words } = rule;
    return importsOf(root, path)
      .filter(({ target }) => !may.some((glob) => matchesGlob(target, glob)))
      .map((found) => ({ ...found, path, words }));
  });
}
