/** Names that other systems, manifests and users rely on. Changing one is a breaking change. */

export const namespace = 'buildkit-system'
export const serviceName = 'buildkitd'
/** Headless: resolves to every gateway, for agents that ask all of them. */
export const gatewaysService = 'insitu-gateways'
/** The port clients use, its alias (buildkitd's customary one), the agents' port for gateways, and their mirror's. */
export const ports = { clients: 2375, clientsAlias: 1234, agent: 2376, mirror: 2378, metrics: 9375 } as const

export const group = 'insitu.build'

export const labels = {
  /** On our pods: `gateway`, `agent`, `controller`. */
  role: `${group}/role`,
  /** On a node and on the pod of its agent: `rootless`, where buildkitd runs without privilege. */
  mode: `${group}/mode`,
  /** On a namespace: `allow` lets its pods talk to port 2375 in plaintext. */
  plaintext: `${group}/plaintext`,
} as const

export const annotations = {
  /** On an agent pod: a NodeReport as JSON. */
  nodeReport: `${group}/node-report`,
  /** On a pod that waited for an image: when insitu made the kubelet look again (RFC 3339). */
  imageReady: `${group}/image-ready`,
  /** On a pod template: a digest of the configuration its pods read when they start. */
  config: `${group}/config-digest`,
  /** On a node: `insitu install` has written the mode's label, so `insitu uninstall` takes it away. */
  modeByInstall: `${group}/mode-by-install`,
  /** On our namespace: `insitu install` made it, so `insitu uninstall` may delete it. */
  namespaceCreated: `${group}/created-by-install`,
  /** On the gateways' Deployment: the options of the last `insitu install` that shaped it, as a JSON list of arguments. */
  installOptions: `${group}/install-options`,
  /** On ConfigMap insitu-ca after an uninstall that could not reach every node: what the next one has to do. */
  notCleaned: `${group}/not-cleaned`,
} as const

export const configMaps = {
  /** The user's buildkitd.toml under the key `buildkitd.toml`. */
  buildkitd: 'buildkitd.toml',
  /** Our own configuration under the key `insitu.toml`. */
  insitu: 'insitu.toml',
  /** Who may do what, under the key `policy.toml`; read again when it changes. */
  policy: 'insitu-policy',
  /** Proxy variables for builds: of the install in our namespace, of others in theirs; read again when they change. */
  proxy: 'insitu-proxy',
  /** The certificate of the cluster's CA under the key `ca.crt`, readable by our roles. */
  ca: 'insitu-ca',
} as const

/** In the environment of an agent's pod: where that agent looks, for an `insitu doctor` that somebody runs there. */
export const doctorVariables = {
  root: 'INSITU_BUILDKIT_ROOT',
  containerdAddress: 'INSITU_CONTAINERD_ADDRESS',
  rootless: 'INSITU_ROOTLESS',
} as const

/** The Secret with the CA's key: `tls.crt` and `tls.key`. Only gateways may read it. */
export const caSecret = 'insitu-ca'
/** Its type where somebody else keeps the CA: what cert-manager and `kubectl create secret tls` make. */
export const tlsSecret = 'kubernetes.io/tls'

/** The DaemonSet of agents without privilege; the privileged one is named like its service account. */
export const rootlessAgent = 'insitu-agent-rootless'

export const serviceAccounts = {
  gateway: 'insitu-gateway',
  agent: 'insitu-agent',
  controller: 'insitu-controller',
} as const

/** The ClusterRole, bound to nobody, with which the controllers may read the annotations of Secrets; and its bindings. */
export const secretReader = 'insitu-controller-secrets'

/** Audience of the service account tokens that agents and gateways prove themselves with. */
export const tokenAudience = 'insitu.build'

/** Frontend options, build args and exporter attributes with this prefix are ours and are removed before relaying. */
export const optionPrefix = 'insitu.'

/** The default image. `insitu install --image` replaces it. */
export const image = 'ghcr.io/insitu-build/insitu'
