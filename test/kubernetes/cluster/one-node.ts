import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, succeeds } from '../../containers/command.ts';
import { removeMountsBelow } from '../../containers/mounts.ts';
import { CACHE } from '../tools.ts';
import {
  closeNetwork,
  NODE_ADDRESS,
  openNetwork,
  POD_BRIDGE,
  POD_NETWORK,
  readSettings,
  removeControlGroups,
  restoreSettings,
} from './host.ts';
import { ClusterPki } from './pki.ts';
import { Processes } from './processes.ts';
import { PROGRAMS } from './programs.ts';

const RUN = join(CACHE, 'run');
/** Sockets have short names. */
const STATE = '/run/keyweave-kubernetes';
const SOCKET = `${STATE}/containerd.sock`;
const NODE = 'node-1';
const SERVER = `https://${NODE_ADDRESS}:6443`;
const START_LIMIT_MS = 120_000;
export const PAUSE_IMAGE = 'keyweave.example/pause:1';

const program = (name: string) => join(PROGRAMS, name);
const ctr = (...args: string[]) => attempt('ctr', ['--address', SOCKET, '--namespace', 'k8s.io', ...args]);

/** A real Kubernetes of one node on this machine: control plane, kubelet, containerd, proxy and DNS. */
export class OneNodeCluster {
  /** For kubectl and helm. */
  readonly kubeconfig = join(RUN, 'admin.conf');
  readonly #processes = new Processes(RUN);

  private constructor() {}

  /**
   * Starts it; ready in some ten seconds.
   *
   * @param pauseImage an archive that holds the pods' first container, `PAUSE_IMAGE`.
   * @throws Error where it does not come up, having taken away what it made.
   */
  static async start(pauseImage: string): Promise<OneNodeCluster> {
    // What an earlier run has left, should it have been killed.
    await OneNodeCluster.removeLeftovers();
    const cluster = new OneNodeCluster();
    try {
      await cluster.#start(pauseImage);
      return cluster;
    } catch (error) {
      const ended = cluster.#processes.ended.join('; ');
      await cluster.stop();
      throw new Error(`the cluster does not come up: ${(error as Error).message}; ${ended}`);
    }
  }

  static async removeLeftovers(): Promise<void> {
    if (existsSync(join(RUN, 'settings.json'))) await new OneNodeCluster().stop();
  }

  /** Hands an archive of images to the node. */
  async load(archive: string): Promise<void> {
    const { code, stderr } = await ctr('images', 'import', archive);
    if (code !== 0) throw new Error(`the images cannot be loaded: ${stderr}`);
  }

  /** Stops everything, and takes away pods, mounts, control groups, bridges and packet rules. */
  async stop(): Promise<void> {
    await this.#processes.end('kubelet');
    const listed = async (what: string) =>
      existsSync(SOCKET) ? (await ctr(what, 'ls', '-q')).stdout.split('\n').filter(Boolean) : [];
    for (const task of await listed('tasks')) await ctr('tasks', 'rm', '--force', task);
    for (const container of await listed('containers')) await ctr('containers', 'rm', container);
    await this.#processes.endAll();
    if (existsSync(program('kube-proxy'))) await attempt(program('kube-proxy'), ['--cleanup']);
    await removeMountsBelow(RUN, STATE, '/run/netns');
    await closeNetwork();
    removeControlGroups();
    const settings = join(RUN, 'settings.json');
    if (existsSync(settings)) restoreSettings(JSON.parse(readFileSync(settings, 'utf8')));
    rmSync(STATE, { recursive: true, force: true });
    for (const name of ['etcd', 'kubelet', 'containerd', 'cni', 'cni-leases', 'pki', 'settings.json'])
      rmSync(join(RUN, name), { recursive: true, force: true });
  }

  async #start(pauseImage: string): Promise<void> {
    for (const folder of [
      STATE,
      ...['etcd', 'kubelet', 'containerd', 'cni', 'pki'].map((name) => join(RUN, name)),
    ])
      mkdirSync(folder, { recursive: true });
    writeFileSync(join(RUN, 'settings.json'), JSON.stringify(readSettings()));
    await openNetwork();
    await writeIdentities();
    writeNodeFiles();
    this.#run('etcd', [
      ...['--data-dir=etcd', '--unsafe-no-fsync'],
      ...[
        `--listen-client-urls=http://${NODE_ADDRESS}:2379`,
        `--advertise-client-urls=http://${NODE_ADDRESS}:2379`,
      ],
      ...['--listen-peer-urls=http://127.0.0.1:0', '--log-level=warn'],
    ]);
    this.#run('kube-apiserver', [
      ...[`--etcd-servers=http://${NODE_ADDRESS}:2379`, `--advertise-address=${NODE_ADDRESS}`],
      ...[`--bind-address=${NODE_ADDRESS}`, '--secure-port=6443', '--client-ca-file=pki/ca.crt'],
      ...['--tls-cert-file=pki/apiserver.crt', '--tls-private-key-file=pki/apiserver.key'],
      ...['--kubelet-client-certificate=pki/admin.crt', '--kubelet-client-key=pki/admin.key'],
      '--kubelet-preferred-address-types=InternalIP',
      '--service-account-issuer=https://kubernetes.default.svc',
      ...[
        '--service-account-signing-key-file=pki/accounts.key',
        '--service-account-key-file=pki/accounts.pub',
      ],
      ...['--service-cluster-ip-range=10.96.0.0/16', '--authorization-mode=Node,RBAC'],
      '--enable-admission-plugins=NodeRestriction',
    ]);
    await this.#until('the API server answers', 'get', '--raw', '/readyz');
    this.#run('kube-controller-manager', [
      ...['--kubeconfig=pki/controller.conf', '--root-ca-file=pki/ca.crt', `--bind-address=${NODE_ADDRESS}`],
      ...['--service-account-private-key-file=pki/accounts.key', '--use-service-account-credentials'],
      ...[`--cluster-cidr=${POD_NETWORK}`, '--allocate-node-cidrs', '--leader-elect=false'],
    ]);
    this.#run('kube-scheduler', [
      ...['--kubeconfig=pki/scheduler.conf', '--leader-elect=false', `--bind-address=${NODE_ADDRESS}`],
    ]);
    this.#processes.start('containerd', 'containerd', ['--config', 'containerd.toml'], RUN);
    await until('containerd answers', () => succeeds('ctr', ['--address', SOCKET, 'version']));
    await this.load(pauseImage);
    this.#run('kubelet', [
      ...['--config=kubelet.json', '--kubeconfig=pki/kubelet.conf', `--root-dir=${RUN}/kubelet`],
      ...[`--hostname-override=${NODE}`, `--node-ip=${NODE_ADDRESS}`],
    ]);
    this.#run('kube-proxy', [
      ...['--kubeconfig=pki/proxy.conf', `--hostname-override=${NODE}`, '--proxy-mode=iptables'],
      ...[`--cluster-cidr=${POD_NETWORK}`, '--conntrack-max-per-core=0'],
      ...['--conntrack-tcp-timeout-established=0', '--conntrack-tcp-timeout-close-wait=0'],
    ]);
    this.#run('coredns', ['-conf', 'Corefile']);
    await this.#until('the node is ready', 'wait', '--for=condition=Ready', '--timeout=1s', `node/${NODE}`);
    await this.#until('namespaces have accounts', 'get', 'serviceaccount', 'default');
  }

  #run(name: string, args: readonly string[]): void {
    this.#processes.start(name, program(name), args, RUN);
  }

  #until(what: string, ...args: string[]): Promise<void> {
    return until(what, async () => {
      const [ended] = this.#processes.ended;
      if (ended !== undefined) throw new Error(`ended by itself: ${ended}`);
      return succeeds(program('kubectl'), ['--kubeconfig', this.kubeconfig, ...args], { limitMs: 10_000 });
    });
  }
}

async function until(what: string, check: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + START_LIMIT_MS;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`not within ${START_LIMIT_MS / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function writeIdentities(): Promise<void> {
  const pki = await ClusterPki.create();
  const file = (name: string, text: string) => writeFileSync(join(RUN, 'pki', name), text, { mode: 0o600 });
  file('ca.crt', pki.ca.certificate);
  const accounts = await ClusterPki.signingKeys();
  file('accounts.key', accounts.key);
  file('accounts.pub', accounts.publicKey);
  const services = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc'];
  for (const [name, subject, names] of [
    ['apiserver', 'CN=kube-apiserver', [NODE_ADDRESS, '10.96.0.1', ...services]],
    ['kubelet', `O=system:nodes, CN=system:node:${NODE}`, [NODE_ADDRESS, NODE]],
    ['admin', 'O=system:masters, CN=admin', []],
  ] as const) {
    const { key, certificate } = await pki.issue(subject, names);
    file(`${name}.crt`, certificate);
    file(`${name}.key`, key);
  }
  for (const [name, subject] of [
    ['kubelet', `O=system:nodes, CN=system:node:${NODE}`],
    ['controller', 'CN=system:kube-controller-manager'],
    ['scheduler', 'CN=system:kube-scheduler'],
    ['proxy', 'CN=system:kube-proxy'],
    ['dns', 'O=system:masters, CN=dns'],
  ] as const)
    file(`${name}.conf`, await pki.kubeconfig(SERVER, subject));
  const admin = await pki.kubeconfig(SERVER, 'O=system:masters, CN=admin');
  writeFileSync(join(RUN, 'admin.conf'), admin, { mode: 0o600 });
}

function writeNodeFiles(): void {
  const file = (name: string, text: string) => writeFileSync(join(RUN, name), text);
  file(
    'containerd.toml',
    `version = 2
root = "${RUN}/containerd"
state = "${STATE}/state"
[grpc]
  address = "${SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE}"
  # Where root may not lower oom_score_adj, no container starts without this.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${RUN}/cni"
`,
  );
  const bridge = {
    type: 'bridge',
    ...{ bridge: POD_BRIDGE, isGateway: true, ipMasq: true, hairpinMode: true },
    ipam: {
      type: 'host-local',
      dataDir: join(RUN, 'cni-leases'),
      ranges: [[{ subnet: '10.244.0.0/24' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  };
  file('cni/10-pods.conflist', JSON.stringify({ cniVersion: '0.4.0', name: 'pods', plugins: [bridge] }));
  const pki = join(RUN, 'pki');
  file(
    'kubelet.json',
    JSON.stringify({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      authentication: {
        anonymous: { enabled: false },
        webhook: { enabled: true },
        x509: { clientCAFile: `${pki}/ca.crt` },
      },
      authorization: { mode: 'Webhook' },
      ...{ tlsCertFile: `${pki}/kubelet.crt`, tlsPrivateKeyFile: `${pki}/kubelet.key` },
      containerRuntimeEndpoint: `unix://${SOCKET}`,
      ...{ cgroupDriver: 'cgroupfs', failCgroupV1: false, failSwapOn: false },
      ...{ clusterDomain: 'cluster.local', clusterDNS: [NODE_ADDRESS], resolvConf: '' },
      // How soon changed Secrets are in pods.
      syncFrequency: '5s',
      evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
    }),
  );
  file(
    'Corefile',
    `.:53 {
  bind ${NODE_ADDRESS}
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig ${pki}/dns.conf
  }
  cache 30
}
`,
  );
}
