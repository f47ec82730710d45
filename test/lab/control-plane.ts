import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../../src/kernel/process/run.ts'
import {
  cacheDir,
  controlNetns,
  kubeconfigPath,
  logFile,
  net,
  pushRegistry,
  standInRegistry,
  stateDir,
  toolsBin,
} from './layout.ts'
import { netnsPath } from './network.ts'
import { pkiFile } from './pki.ts'
import { alive, lastLines, startDetached, stop, strays } from './processes.ts'
import type { StateStore } from './state.ts'
import { InsituError } from '../../src/kernel/errors.ts'
import { waitFor } from './wait.ts'

interface Component {
  readonly name: string
  readonly file: string
  readonly args: readonly string[]
}

const etcdUrl = 'http://127.0.0.1:2379'
const tool = (name: string): string => join(toolsBin, name)
const registryConfig = (name: string): string => join(stateDir, `${name}.yml`)
const client = (name: string): string => pkiFile(`${name}.kubeconfig`)

/** In the order in which they are started. They live in a network namespace of their own, so no port of the machine is used. */
const components: readonly Component[] = [
  { name: 'registry', file: 'docker-registry', args: ['serve', registryConfig('registry')] },
  { name: 'push-registry', file: 'docker-registry', args: ['serve', registryConfig('push-registry')] },
  {
    name: 'etcd',
    file: 'etcd',
    args: [
      `--data-dir=${join(stateDir, 'etcd')}`,
      '--unsafe-no-fsync',
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      '--listen-peer-urls=http://127.0.0.1:2380',
      '--log-level=warn',
      // Debian's etcd 3.4.23 cannot be asked how far a watch is; without frequent notices of its own the API server's
      // caches seem stale and some lists wait for seconds.
      '--experimental-watch-progress-notify-interval=500ms',
    ],
  },
  {
    name: 'kube-apiserver',
    file: tool('kube-apiserver'),
    args: [
      `--etcd-servers=${etcdUrl}`,
      `--service-cluster-ip-range=${net.services}`,
      `--advertise-address=${net.control}`,
      `--bind-address=${net.control}`,
      '--secure-port=6443',
      `--tls-cert-file=${pkiFile('apiserver.crt')}`,
      `--tls-private-key-file=${pkiFile('apiserver.key')}`,
      `--client-ca-file=${pkiFile('ca.crt')}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${pkiFile('sa.pub')}`,
      `--service-account-signing-key-file=${pkiFile('sa.key')}`,
      '--authorization-mode=Node,RBAC',
      '--enable-admission-plugins=NodeRestriction',
      '--allow-privileged=true',
      `--kubelet-client-certificate=${pkiFile('admin.crt')}`,
      `--kubelet-client-key=${pkiFile('admin.key')}`,
      `--kubelet-certificate-authority=${pkiFile('ca.crt')}`,
      '--kubelet-preferred-address-types=InternalIP',
      '--endpoint-reconciler-type=lease',
      // Webhooks and aggregated APIs are dialled at their pods: no kube-proxy runs beside the API server.
      '--enable-aggregator-routing=true',
      // Asks those caches every minute for each resource, only for an estimate.
      '--feature-gates=SizeBasedListCostEstimate=false,MutatingAdmissionPolicy=true',
      '--runtime-config=admissionregistration.k8s.io/v1beta1=true',
      '--profiling=false',
    ],
  },
  {
    name: 'kube-scheduler',
    file: tool('kube-scheduler'),
    args: [`--kubeconfig=${client('scheduler')}`, '--leader-elect=false', '--profiling=false'],
  },
  {
    name: 'kube-controller-manager',
    file: tool('kube-controller-manager'),
    args: [
      `--kubeconfig=${client('controller-manager')}`,
      '--leader-elect=false',
      '--profiling=false',
      `--root-ca-file=${pkiFile('ca.crt')}`,
      `--service-account-private-key-file=${pkiFile('sa.key')}`,
      `--cluster-signing-cert-file=${pkiFile('ca.crt')}`,
      `--cluster-signing-key-file=${pkiFile('ca.key')}`,
      '--use-service-account-credentials',
    ],
  },
]

export const controlComponents: readonly string[] = components.map((c) => c.name)

/** Starts what does not run and waits until the API server is ready. */
export async function ensureControlPlane(state: StateStore): Promise<void> {
  await writeRegistryConfig('registry', standInRegistry, join(cacheDir, 'registry'))
  await writeRegistryConfig('push-registry', pushRegistry, join(stateDir, 'push-registry'))
  await mkdir(join(stateDir, 'logs'), { recursive: true })
  const early = components.filter((c) => !c.name.startsWith('kube-s') && !c.name.startsWith('kube-c'))
  for (const component of early) await ensure(component, state)
  await waitFor('the API server', () => apiServerReady(state), { timeout: 60_000, interval: 250 })
  for (const component of components) await ensure(component, state)
}

async function ensure(component: Component, state: StateStore): Promise<void> {
  const { processes } = state.get()
  if (alive(processes[component.name])) return
  for (const stray of strays(netnsPath(controlNetns), [component.file, ...component.args])) await stop(stray)
  const started = await startDetached(
    'nsenter',
    [`--net=${netnsPath(controlNetns)}`, component.file, ...component.args],
    { log: logFile(component.name) },
  )
  state.update({ processes: { ...processes, [component.name]: started } })
}

async function apiServerReady(state: StateStore): Promise<true | undefined> {
  for (const name of ['etcd', 'kube-apiserver']) {
    if (!alive(state.get().processes[name])) {
      throw new InsituError('LAB_PROCESS', `${name} ended: ${lastLines(logFile(name))}`)
    }
  }
  const answer = await kubectl(['get', '--raw', '/readyz', '--request-timeout=2s'])
  return answer.stdout === 'ok' ? true : undefined
}

export async function stopControlPlane(state: StateStore): Promise<void> {
  for (const { name } of [...components].reverse()) {
    await stop(state.get().processes[name], name === 'etcd' || name.includes('registry') ? 2000 : 0)
  }
}

export const kubectl = (args: readonly string[], options: { input?: string; timeout?: number } = {}) =>
  run(tool('kubectl'), [`--kubeconfig=${kubeconfigPath}`, ...args], options)

async function writeRegistryConfig(name: string, address: string, storage: string): Promise<void> {
  await mkdir(storage, { recursive: true })
  const config = {
    version: '0.1',
    log: { level: 'warn', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: storage }, delete: { enabled: true } },
    http: { addr: address },
  }
  await writeFile(registryConfig(name), JSON.stringify(config))
}
