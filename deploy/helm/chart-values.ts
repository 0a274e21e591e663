/**
 * The chart's values as a JSON Schema: structure, limits and what each means.
 * Sections of config.json come from the node's own schema (generate.ts); the
 * defaults are those of keyweave/values.yaml.
 */
export type Schema = { readonly [key: string]: unknown };

const UUID = '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$';
/** A name of an object of Kubernetes, or nothing. */
const OBJECT_NAME = '^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$';
const HOST = '^[^\\s/\\[\\]]*$';
const GO_DURATION = '^([0-9]+h)?([0-9]+m)?([0-9]+s)?$';
const QUANTITY = '^[0-9]+(\\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi)?$';

const object = (description: string, properties: { [name: string]: Schema }, more: Schema = {}): Schema => ({
  type: 'object',
  description,
  properties,
  additionalProperties: false,
  ...more,
});
const text = (description: string, more: Schema = {}): Schema => ({ type: 'string', description, ...more });
const choice = (description: string, ...values: string[]): Schema => ({ enum: values, description });
const whole = (description: string, minimum: number, maximum: number): Schema => ({
  type: 'integer',
  description,
  minimum,
  maximum,
});
const port = (description: string) => whole(description, 1, 65_535);
const yes = (description: string): Schema => ({ type: 'boolean', description });
const list = (description: string, items: Schema, more: Schema = {}): Schema => ({
  type: 'array',
  description,
  items,
  ...more,
});
const objectName = (description: string) => text(description, { pattern: OBJECT_NAME });
const texts = (description: string): Schema => ({
  type: 'object',
  description,
  additionalProperties: { type: 'string' },
});

const quantities = (description: string): Schema => ({
  type: 'object',
  description,
  additionalProperties: { type: ['string', 'integer'], pattern: QUANTITY },
});

const resources = object("the container's share of its machine", {
  requests: quantities('what the scheduler sets aside for it, by resource'),
  limits: quantities('what it gets at most, by resource'),
});

const labelSelector = (of: string) =>
  object(`chooses ${of} by their labels; {} chooses all`, {
    matchLabels: texts('labels that must all be there'),
    matchExpressions: list(
      'further conditions',
      object('one condition', {
        key: text('the label'),
        operator: choice('how it is compared', 'In', 'NotIn', 'Exists', 'DoesNotExist'),
        values: list('what with', { type: 'string' }),
      }),
    ),
  });

/** NetworkPolicyPeer of networking.k8s.io/v1; an empty one would be everybody. */
const policyPeer = object(
  'pods, namespaces or addresses',
  {
    podSelector: labelSelector('pods'),
    namespaceSelector: labelSelector('namespaces'),
    ipBlock: object('addresses', {
      cidr: text('a subnet'),
      except: list('subnets in it that are not meant', { type: 'string' }),
    }),
  },
  { minProperties: 1 },
);
const policyPeers = (description: string, more: Schema = {}) => list(description, policyPeer, more);

const disruption = object('what a drain of machines may take', {
  maxUnavailable: {
    type: ['integer', 'string'],
    pattern: '^[0-9]{1,2}%$',
    minimum: 0,
    description: 'pods that may be missing at a time; 0 holds every drain up',
  },
});

const stateless = (name: string, what: string) =>
  object(`${name}: ${what}`, {
    replicas: whole('pods, where autoscaling does not decide', 1, 100),
    resources,
    autoscaling: object('a HorizontalPodAutoscaler; needs a metrics server', {
      enabled: yes('whether there is one'),
      minReplicas: whole('pods at least', 1, 100),
      maxReplicas: whole('pods at most', 1, 100),
      targetCPU: text('CPU that a pod uses on average, of the one core that it can fill', {
        pattern: QUANTITY,
      }),
    }),
    podDisruptionBudget: disruption,
  });

const service = (description: string, types: string[]) =>
  object(description, {
    type: choice(
      types.includes('Headless')
        ? 'Headless: every pod by its own address, for peers in the same cluster; the others for peers outside'
        : 'who reaches it',
      ...types,
    ),
    port: port('where it listens'),
    annotations: texts('for whatever makes load balancers'),
    loadBalancerSourceRanges: list('subnets that a load balancer lets in', { type: 'string' }),
  });

const toleration = object('one toleration', {
  key: text('the taint'),
  operator: choice('how its value is compared', 'Exists', 'Equal'),
  value: text('what with'),
  effect: choice('which effect', 'NoSchedule', 'PreferNoSchedule', 'NoExecute'),
  tolerationSeconds: whole('how long', 0, 2_147_483_647),
});

/**
 * @param config schema of the sections of config.json that values may give.
 * @param peers schema of trusted_peers_info.json.
 */
export function chartValues(config: { [section: string]: Schema }, peers: Schema): Schema {
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Values of the chart keyweave',
    ...object('one node of a quantum network', {
      global: { type: 'object', description: 'what charts that this one is part of share; unused here' },
      node: object(
        'who the node is',
        {
          uuid: text("the node's name, a UUID; required", { pattern: UUID }),
          network: text('SPIFFE trust domain, the same in the whole network', { pattern: '^[a-z0-9._-]+$' }),
        },
        { required: ['uuid'] },
      ),
      peers,
      existingPeersSecret: objectName(
        'a Secret with trusted_peers_info.json, instead of peers: keeps shared_seed out of the values',
      ),
      keyManager: object('the key manager that gives the node its QKD keys (ETSI GS QKD 004 JSON)', {
        host: text('its name or address; required unless the simulator is on', { pattern: HOST }),
        port: port('its port'),
        tls: object('mutual TLS towards it', {
          secret: objectName(
            'a Secret with ca.crt, tls.crt and tls.key; without it the keys come over plain TCP',
          ),
          serverName: text('name that its certificate must carry, where that is not host'),
        }),
      }),
      kmeSimulator: object('simulated key managers; THEIR KEYS ARE NOT SECRET, for trials and tests only', {
        enabled: yes('whether they run, and give this node its keys'),
        ends: whole(
          'how many: this node takes the first, at port 54000 of <name>-kme-simulator, others the next ones',
          2,
          16,
        ),
        rate: whole('key rate over all streams, bit/s; 0: unlimited', 0, 2_147_483_647),
        resources,
      }),
      config: object("sections of config.json, as the README's table Configuration has them", config),
      image: object('the image of all services', {
        repository: text('where it is', { minLength: 1 }),
        tag: text("its tag; the chart's appVersion where empty"),
        digest: text('its digest, which counts instead of the tag', { pattern: '^(sha256:[0-9a-f]{64})?$' }),
        pullPolicy: choice('when it is pulled', 'IfNotPresent', 'Always', 'Never'),
        pullSecrets: list('names of Secrets that it is pulled with', { type: 'string' }),
      }),
      certificates: object("the services' certificates", {
        source: choice(
          'secrets: they lie in Secrets, from wherever; cert-manager: they are asked for',
          'secrets',
          'cert-manager',
        ),
        secrets: object(
          'Secrets with ca.crt, tls.crt and tls.key, one a service; <name>-<service>-tls where empty',
          Object.fromEntries(
            ['gateway', 'qkd-source', 'pqc-source', 'peer-broker', 'hybridizer'].map((name) => [
              name,
              objectName(`that of the ${name}`),
            ]),
          ),
        ),
        ca: object('CAs that count instead of ca.crt in those Secrets, e.g. a bundle of trust-manager', {
          configMap: objectName('the ConfigMap'),
          key: text('the key in it', { minLength: 1 }),
        }),
        crl: object('revocation lists of the CAs, PEM', {
          configMap: objectName('the ConfigMap; without it nothing is revoked'),
          key: text('the key in it', { minLength: 1 }),
        }),
        certManager: object('what cert-manager is asked for', {
          issuerRef: object('who issues', {
            name: text('the name; required with cert-manager'),
            kind: choice('the kind', 'Issuer', 'ClusterIssuer'),
            group: text('the group of its API'),
          }),
          duration: text('life of a certificate', { pattern: GO_DURATION }),
          renewBefore: text('how long before its end it is renewed', { pattern: GO_DURATION }),
          gatewayNames: list("further DNS names of the gateway's, for applications outside", {
            type: 'string',
          }),
        }),
      }),
      services: object('the five services of the node', {
        gateway: object('gateway: keeps the key streams, so there is one', {
          resources,
          podDisruptionBudget: disruption,
        }),
        'qkd-source': stateless('qkd-source', 'speaks to the key manager'),
        'pqc-source': stateless('pqc-source', 'the KEMs'),
        'peer-broker': stateless('peer-broker', 'speaks to other nodes'),
        hybridizer: stateless('hybridizer', 'derives keys'),
      }),
      applications: object('towards applications', {
        service: service('the Service of the JSON API', ['ClusterIP', 'NodePort', 'LoadBalancer']),
      }),
      peering: object('towards other nodes', {
        service: service('the Service of the peer-broker', [
          'Headless',
          'ClusterIP',
          'NodePort',
          'LoadBalancer',
        ]),
      }),
      networkPolicy: object('who may talk with whom; everything else is denied', {
        enabled: yes('whether there are policies; a network plugin must enforce them'),
        applications: policyPeers(
          'who may use the JSON API; the default is pods of the own namespace that are labelled so',
        ),
        peers: policyPeers(
          'where the brokers of other nodes are, both ways; those outside the cluster need an ipBlock',
        ),
        peerPorts: list(
          'ports that other brokers are dialled at, beside 3001 and those in peers',
          port('a port'),
        ),
        keyManager: policyPeers('where the key manager is; needed unless its host is an address'),
        simulatorClients: policyPeers('who else may use the simulated key managers'),
        dns: policyPeers('who answers DNS', { minItems: 1 }),
        monitoring: policyPeers('who may fetch metrics, with serviceMonitor.enabled'),
        collector: policyPeers('where the OpenTelemetry collector of config.telemetry.otlp is'),
      }),
      pods: object('what all pods have in common', {
        labels: texts('further labels'),
        annotations: texts('further annotations'),
        nodeSelector: texts('labels of the machines that they may run on'),
        tolerations: list('taints that they bear', toleration),
        affinity: { type: 'object', description: 'affinity, in the terms of Kubernetes' },
        priorityClassName: text('their priority class'),
        topologyKeys: list('labels of machines over whose values the pods of a service are spread', {
          type: 'string',
        }),
        topologyPolicy: choice('what happens where that cannot be', 'ScheduleAnyway', 'DoNotSchedule'),
        leaveSeconds: whole(
          'how long a pod of a stateless service that is to stop goes on, for callers to leave it',
          0,
          300,
        ),
        bindAddress: choice('what the services bind to in their pods', '0.0.0.0', '::'),
      }),
      serviceMonitor: object('a ServiceMonitor of the Prometheus operator: /metrics of the health port', {
        enabled: yes('whether there is one'),
        interval: text('how often it is read', { pattern: '^[0-9]+(ms|s|m|h)$' }),
        labels: texts('labels by which a Prometheus chooses it'),
      }),
      test: object("what 'helm test' does: a key of this node and of a peer, compared", {
        peer: object('the other node', {
          uuid: text('its UUID', { pattern: `^$|${UUID}` }),
          host: text('where its JSON API is; without it there is no test', { pattern: HOST }),
          port: port('its port'),
        }),
        tlsSecret: objectName(
          'a Secret with ca.crt, tls.crt and tls.key of a client, where config.listeners.json.tls is not off',
        ),
        networkPolicyTo: policyPeers("where the peer's gateway is", { minItems: 1 }),
      }),
      nameOverride: text('instead of keyweave in names and labels', { maxLength: 40 }),
      fullnameOverride: text('instead of <release>-keyweave in names', { maxLength: 48 }),
    }),
    required: ['node'],
  };
}
