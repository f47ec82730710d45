import { ports, serviceName } from '../../api/names.ts'
import type { Installation, RolePod } from './installation.ts'
import { progressOf } from './rollout.ts'
import { table } from './table.ts'

/** What `--output json` prints. */
export function statusDocument(installation: Installation) {
  const pod = ({ name, node, ready, restarts, report, problem }: RolePod) => ({
    name,
    node: node ?? null,
    ready,
    restarts,
    ...(problem === undefined ? {} : { problem: problem.text, ...(problem.fix ? { fix: problem.fix } : {}) }),
    ...(report === undefined ? {} : { report }),
  })
  return {
    installed: isInstalled(installation),
    ready: progressOf(installation).done,
    namespace: installation.namespace,
    image: imageOf(installation) ?? null,
    address: addressOf(installation) ?? null,
    gateways: installation.gateways.map(pod),
    agents: installation.agents.map(pod),
    controllers: installation.controllers.map(pod),
  }
}

export const isInstalled = ({ deployment, daemonSet, rootless }: Installation): boolean =>
  (deployment ?? daemonSet ?? rootless) !== undefined

const imageOf = ({ daemonSet, rootless, deployment }: Installation): string | undefined =>
  (daemonSet ?? rootless ?? deployment)?.spec?.template?.spec?.containers?.[0]?.image

const addressOf = ({ service, namespace }: Installation): string | undefined =>
  service === undefined ? undefined : `tcp://${serviceName}.${namespace}.svc:${ports.clients}`

/** For people. */
export function statusText(installation: Installation): string {
  const { namespace, gateways, agents, controllers, warnings } = installation
  if (!isInstalled(installation)) return `insitu is not installed in namespace ${namespace}: insitu install`
  const { summary, done, fix } = progressOf(installation)
  const state = (pod: RolePod): string => (pod.ready ? 'ready' : pod.problem?.stuck ? 'NOT READY' : 'waiting')
  const pods = table([
    ['ROLE', 'NODE', 'STATE', 'RESTARTS', 'CONTAINERD', 'SNAPSHOTTER', 'NETWORK', 'PLATFORMS'],
    ...gateways.map((pod) => ['gateway', pod.node ?? '-', state(pod), String(pod.restarts)]),
    ...agents.map((pod) => [
      'agent',
      pod.node ?? '-',
      state(pod),
      String(pod.restarts),
      pod.report?.containerd || (pod.report?.mode ?? '-'),
      pod.report?.snapshotter || '-',
      pod.report?.network ?? '-',
      shorten(pod.report?.platforms ?? []),
    ]),
    ...controllers.map((pod) => ['controller', pod.node ?? '-', state(pod), String(pod.restarts)]),
  ])
  const notes = [...gateways, ...agents, ...controllers].flatMap((pod) => [
    ...(pod.problem ? [`${pod.name}: ${pod.problem.text}`] : []),
    ...(pod.problem?.fix ? [`  fix: ${pod.problem.fix}`] : []),
    ...(pod.report?.findings ?? [])
      .filter((finding) => finding.severity === 'warning')
      .flatMap((f) => [`${pod.node}: ${f.message} [${f.code}]`, ...(f.fix ? [`  fix: ${f.fix}`] : [])]),
  ])
  const parts = [`insitu ${imageOf(installation) ?? ''} in namespace ${namespace}: ${summary}`, pods]
  if (notes.length > 0) parts.push([...new Set(notes)].join('\n'))
  if (!done && notes.length === 0 && warnings.length > 0)
    parts.push([...warnings, ...(fix ? [`  fix: ${fix}`] : [])].join('\n'))
  if (installation.service) parts.push(connectText(namespace))
  return `${parts.join('\n\n')}\n`
}

const shorten = (platforms: readonly string[]): string =>
  platforms.length > 3 ? `${platforms.slice(0, 3).join(',')},… (${platforms.length})` : platforms.join(',') || '-'

const connectText = (namespace: string): string =>
  [
    'build from here:',
    `  kubectl -n ${namespace} port-forward service/${serviceName} ${ports.clients} &`,
    `  buildctl --addr tcp://127.0.0.1:${ports.clients} build --frontend dockerfile.v0 --local context=. --local dockerfile=. \\`,
    '    --output type=image,name=docker.io/library/app:dev',
    `in the cluster: tcp://${serviceName}.${namespace}.svc:${ports.clients}, from namespaces labelled insitu.build/plaintext=allow or with TLS`,
  ].join('\n')
