import { attempt, type CommandOptions, type CommandResult, run } from '../containers/command.ts';

/** What the runner (main.ts) tells the suites of the cluster. */
export const KUBECTL = required('KUBECTL');
export const HELM = required('HELM');
export const REPOSITORY = required('KEYWEAVE_REPOSITORY');
export const TAG = required('KEYWEAVE_TAG');
/** Where the cluster knows only one tag it is the same, and an upgrade changes an annotation alone. */
export const NEXT_TAG = required('KEYWEAVE_NEXT_TAG');

const LOOK_MS = 200;

/** An object as the API server gives it, as far as tests look. */
export interface ApiObject {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly deletionTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly replicas?: number;
    readonly automountServiceAccountToken?: boolean;
    readonly volumes?: readonly { readonly name: string }[];
  };
  readonly status: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly {
      readonly restartCount: number;
      readonly state: { readonly waiting?: { readonly reason: string } };
      readonly lastState: { readonly terminated?: { readonly exitCode: number; readonly message?: string } };
    }[];
  };
}

/** Runs a kubectl command that must succeed. */
export function kubectl(...args: string[]): Promise<string> {
  return run(KUBECTL, args);
}

export function attemptKubectl(args: readonly string[], options?: CommandOptions): Promise<CommandResult> {
  return attempt(KUBECTL, args, options);
}

export async function listed(kind: string, namespace: string, selector = ''): Promise<ApiObject[]> {
  const args = ['get', kind, '--namespace', namespace, '--output=json'];
  const text = await kubectl(...args, ...(selector ? ['--selector', selector] : []));
  return (JSON.parse(text) as { items: ApiObject[] }).items;
}

export const isReady = ({ metadata, status }: ApiObject): boolean =>
  metadata.deletionTimestamp === undefined &&
  status.conditions?.find(({ type }) => type === 'Ready')?.status === 'True';

/** Makes or changes an object. */
export async function apply(object: object): Promise<void> {
  const args = [
    'apply',
    '--server-side',
    '--force-conflicts',
    '--field-manager=keyweave-test',
    '--filename=-',
  ];
  await run(KUBECTL, args, { input: JSON.stringify(object) });
}

export async function until(what: string, check: () => Promise<boolean>, limitMs: number): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: these tests are run by 'make test-kubernetes'`);
  return value;
}
