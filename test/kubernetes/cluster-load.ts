import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { HOME } from '#common/service/installation.ts';
import type { HistoryEntry } from '../helpers/delivery-history.ts';
import { type Judgement, LoadJudge } from '../helpers/load-judge.ts';
import type { Loss } from '../helpers/pair-load.ts';
import { importsOf } from '../house/imports.ts';
import { apply, KUBECTL, kubectl, REPOSITORY, TAG } from './kubernetes.ts';
import { APPLICATIONS, loaded, type Release } from './releases.ts';

/** Over all pairs of nodes, at each end. */
const KEYS_PER_SECOND = 51;
const START_LIMIT_MS = 60_000;

const SCRIPT = 'test/kubernetes/load-script.ts';

/** The script and those of the tests' modules that it needs; the product's own are in the image. */
const FILES = withImports(SCRIPT);

const POD = 'applications';

/** Makes the pod in which applications run, with the product's image. */
export async function makeApplicationsPod(): Promise<void> {
  const key = (path: string) => path.replaceAll('/', '_');
  await apply({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: POD, namespace: APPLICATIONS },
    data: Object.fromEntries(FILES.map((path) => [key(path), readFileSync(join(HOME, path), 'utf8')])),
  });
  await apply({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: POD, namespace: APPLICATIONS },
    spec: {
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 1,
      securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: POD,
          image: `${REPOSITORY}:${TAG}`,
          command: ['node', '--eval', 'setInterval(() => undefined, 60_000)'],
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
          volumeMounts: FILES.map((path) => ({
            name: 'files',
            mountPath: `/app/${path}`,
            subPath: key(path),
          })),
        },
      ],
      volumes: [{ name: 'files', configMap: { name: POD } }],
    },
  });
  await kubectl(
    'wait',
    `--namespace=${APPLICATIONS}`,
    '--for=condition=Ready',
    '--timeout=60s',
    `pod/${POD}`,
  );
}

/** `kubectl exec` into the pod of the applications. */
export const execArgs = (...command: string[]) => [
  'exec',
  `--namespace=${APPLICATIONS}`,
  '--stdin',
  POD,
  '--',
  ...command,
];

/** Applications in the cluster that fetch keys all along, and what they have seen. */
export class ClusterLoad {
  readonly #judge: LoadJudge;
  readonly #script: ChildProcess;
  /** What is to be added to times of the pod's machine to have those of this one. */
  #skewMs = 0;
  #ended: string | undefined;

  private constructor(judge: LoadJudge, script: ChildProcess) {
    this.#judge = judge;
    this.#script = script;
  }

  static async start(between: readonly (readonly [Release, Release])[]): Promise<ClusterLoad> {
    const pairs = between.map((pair) => pair.map(loaded));
    const options = JSON.stringify({ pairs, keysPerSecond: KEYS_PER_SECOND });
    const command = ['node', '--disable-warning=ExperimentalWarning', `/app/${SCRIPT}`, options];
    const script = spawn(KUBECTL, execArgs(...command), { stdio: ['pipe', 'pipe', 'pipe'] });
    const load = new ClusterLoad(new LoadJudge(2 * pairs.length), script);
    await load.#listen();
    return load;
  }

  /** Stops the applications and keeps their history, digests only, under `.cache/kubernetes`. */
  async stop(name: string): Promise<void> {
    const closed = new Promise((resolve) => this.#script.once('close', resolve));
    const alive = this.#script.exitCode === null;
    this.#script.stdin?.end();
    if (alive) await closed;
    this.#judge.write(join(HOME, '.cache', 'kubernetes', `${name}.jsonl`));
  }

  get deliveries(): { both: number; alone: number } {
    return this.#judge.deliveries;
  }

  since(fromMs: number): HistoryEntry[] {
    return this.#judge.since(fromMs);
  }

  /** See LoadJudge. @throws Error where the applications are gone, so that their silence is not taken for calm */
  async judge(trouble: (felt: () => boolean) => Promise<void>): Promise<Judgement> {
    const judgement = await this.#judge.judge(trouble);
    if (this.#ended !== undefined) throw new Error(`the applications have ended: ${this.#ended}`);
    return judgement;
  }

  #listen(): Promise<void> {
    let said = '';
    this.#script.stderr?.on('data', (data: Buffer) => {
      said = `${said}${data}`.slice(-2_000);
    });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no stream could be opened: ${said}`)), START_LIMIT_MS);
      this.#script.once('close', (code) => {
        clearTimeout(timer);
        this.#ended = `${code} ${said}`;
        reject(new Error(`the applications cannot be started: ${this.#ended}`));
      });
      createInterface({ input: this.#script.stdout as NodeJS.ReadableStream }).on('line', (line) => {
        const { nowMs, entry, loss, started } = JSON.parse(line) as {
          nowMs?: number;
          entry?: HistoryEntry;
          loss?: Loss;
          started?: true;
        };
        const here = (ms: number) => ms + this.#skewMs;
        if (nowMs !== undefined) this.#skewMs = Date.now() - nowMs;
        if (entry)
          this.#judge.answered({ ...entry, sentMs: here(entry.sentMs), answeredMs: here(entry.answeredMs) });
        if (loss) this.#judge.lost({ ...loss, atMs: here(loss.atMs) });
        if (started) {
          clearTimeout(timer);
          resolve();
        }
      });
    });
  }
}

function withImports(path: string, found: string[] = []): string[] {
  found.push(path);
  for (const { target } of importsOf(HOME, path))
    if (target.startsWith('test/') && !found.includes(target)) withImports(target, found);
  return found;
}
