import { join } from 'node:path'
import { writeToml } from '../../kernel/config/toml.ts'
import type { Finding, NodeReport } from '../../api/node-report.ts'
import { isTable } from './check-keys.ts'
import { type Collection, collectionKeys } from './collection.ts'
import { checkSubnet, chooseSubnet, defaultSubnet, type NetworkFacts } from '../host/bridge-subnet.ts'
import { get, type Held, mergeConfig, type MutableTable, set } from './merge.ts'

export interface RenderInput {
  /** The user's buildkitd.toml; undefined: there is none and the defaults hold. */
  readonly user: string | undefined
  /** buildkitd's root, mounted at the same path in the pod and on the host. */
  readonly root: string
  /** Path of the unix socket that buildkitd listens on. */
  readonly socket: string
  readonly containerdAddress: string
  /** containerd's namespace: `k8s.io` beside a kubelet. */
  readonly namespace: string
  /** The kubelet's snapshotter. */
  readonly snapshotter: string
  /** Directory with the CNI plug-ins bridge, loopback, host-local and firewall; undefined: found on buildkitd's PATH. */
  readonly cniBinaryPath?: string | undefined
  /** Addresses that are in use, so that RUN steps get others; undefined: they get BuildKit's own. */
  readonly networks?: NetworkFacts | undefined
  /** Limits of its own garbage collection; undefined: BuildKit's defaults. */
  readonly collection?: Collection | undefined
}

export interface Rendered {
  /** The file for buildkitd. */
  readonly toml: string
  /** buildkitd's temporary directory, visible to containerd under the same path. */
  readonly tmpdir: string
  /** `host`: RUN steps are in containerd's own network, which is the node's. */
  readonly network: NodeReport['network']
  readonly bridgeName: string
  /** Addresses of RUN steps, `A.B.C.D/N`; undefined where no bridge of BuildKit's gives them. */
  readonly subnet?: string | undefined
  readonly findings: readonly Finding[]
}

/**
 * Network namespaces that are always kept for RUN steps. One costs 0.2 s, and BuildKit takes those away that nobody used for
 * five minutes: without this the first step of most builds would wait for its own. Each brings two more, for steps whose
 * network is a proxy of BuildKit's.
 */
const networksAtHand = 1

/** What must hold whatever the user writes. The reason completes the sentence "cannot be set, because …". */
export function mustHold(input: RenderInput): readonly Held[] {
  const containerd = ['worker', 'containerd']
  return [
    { path: ['root'], value: input.root, why: 'it is the directory that the pod shares with the node' },
    {
      path: ['grpc', 'address'],
      value: [`unix://${input.socket}`],
      why: 'the agent stands between the daemon and its only client, the gateway',
    },
    {
      path: ['otel', 'socketPath'],
      value: join(input.root, 'otel-grpc.sock'),
      why: 'containerd mounts it into RUN steps and sees only the shared directory',
    },
    { path: ['log', 'format'], value: 'json', why: 'the agent reads the daemon’s log' },
    { path: ['cdi', 'disabled'], value: true, why: 'it would give builds the devices of the node' },
    { path: ['worker', 'oci', 'enabled'], value: false, why: 'its images are not in the node’s containerd' },
    { path: [...containerd, 'enabled'], value: true, why: 'it is the worker that shares images with the node' },
    { path: [...containerd, 'address'], value: input.containerdAddress, why: 'it is where the node’s containerd is' },
    {
      path: [...containerd, 'namespace'],
      value: input.namespace,
      why: input.namespace === 'k8s.io' ? 'the kubelet only sees k8s.io' : 'the agent was started for this namespace',
    },
    {
      path: [...containerd, 'snapshotter'],
      value: input.snapshotter,
      why: 'the kubelet starts containers from this snapshotter',
    },
    { path: [...containerd, 'rootless'], value: false, why: 'the node’s containerd runs as root' },
  ]
}

/**
 * The user's buildkitd.toml, merged with what must hold. Never throws for what a user wrote: the mistakes are fatal
 * findings (all of them at once), and `toml` must then not be used.
 */
export function render(input: RenderInput): Rendered {
  const { table, user, tmpdir, findings } = mergeConfig({ ...input, held: mustHold(input) })
  if (!table) return { toml: '', tmpdir, network: 'bridge', bridgeName: '', findings }
  const worker = get(user, ['worker', 'containerd'])
  const limits = collectionKeys(isTable(worker) ? worker : {}, input.collection)
  for (const [key, value] of Object.entries(limits)) set(table, ['worker', 'containerd', key], value)
  const mode = networkMode(table, input)
  return {
    ...{ toml: writeToml(table), tmpdir, network: mode.network, bridgeName: mode.bridgeName, subnet: mode.subnet },
    findings: [...findings, ...mode.findings],
  }
}

function networkMode(
  merged: MutableTable,
  input: RenderInput,
): Pick<Rendered, 'bridgeName' | 'subnet' | 'findings'> & { network: 'bridge' | 'host' } {
  const at = (key: string): string[] => ['worker', 'containerd', key]
  const asked = get(merged, at('networkMode'))
  // buildkitd's own "auto" falls back to the node's network without a word, so it means bridge here.
  const mode = typeof asked !== 'string' || asked === 'auto' || asked === '' ? 'bridge' : asked
  set(merged, at('networkMode'), mode)
  if (mode === 'bridge' && get(merged, at('cniBinaryPath')) === undefined && input.cniBinaryPath !== undefined) {
    set(merged, at('cniBinaryPath'), input.cniBinaryPath)
  }
  if (mode !== 'host' && get(merged, at('cniPoolSize')) === undefined) set(merged, at('cniPoolSize'), networksAtHand)
  const bridge = get(merged, at('bridgeName'))
  const bridgeName = typeof bridge === 'string' && bridge !== '' ? bridge : 'buildkit0'
  if (mode === 'cni') return { network: 'bridge', bridgeName, findings: [] }
  if (mode === 'bridge') {
    const range = get(merged, at('bridgeSubnet'))
    const said = typeof range === 'string' && range !== '' ? range : undefined
    const facts = input.networks
    if (!facts) return { network: 'bridge', bridgeName, subnet: said ?? defaultSubnet, findings: [] }
    const subnet = said ?? chooseSubnet(facts, bridgeName)
    if (subnet !== defaultSubnet) set(merged, at('bridgeSubnet'), subnet)
    return { network: 'bridge', bridgeName, subnet, findings: checkSubnet(subnet, facts, bridgeName) }
  }
  if (mode === 'host') {
    return {
      network: 'host',
      bridgeName,
      findings: [
        {
          code: 'NETWORK_HOST',
          severity: 'info',
          message: 'RUN steps use the node’s network, as worker.containerd.networkMode = "host" says',
          fix: 'remove networkMode to give RUN steps the pod’s network',
        },
      ],
    }
  }
  return {
    network: 'bridge',
    bridgeName,
    findings: [
      {
        code: 'CONFIG_TYPE',
        severity: 'fatal',
        message: `buildkitd.toml: worker.containerd.networkMode = ${JSON.stringify(mode)} must be "bridge", "cni" or "host"`,
        fix: 'correct the value in the ConfigMap buildkitd.toml',
      },
    ],
  }
}
