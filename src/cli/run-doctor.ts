import { type Examination, examineEmulators } from '../agent/binfmt/examine.ts'
import { checkMirror } from '../agent/mirror/check.ts'
import { fatal, makePlan, paths, type Plan } from '../agent/plan.ts'
import { checkProxies } from '../agent/proxy/check.ts'
import { daemonProxies, remembered } from '../agent/proxy/variables.ts'
import { type RunningAgent, runningAgent } from '../agent/host/running.ts'
import type { Finding } from '../api/node-report.ts'
import { shownProxy } from '../buildkit/proxy-url.ts'
import { processEnv } from '../kernel/config/env.ts'
import { InsituError } from '../kernel/errors.ts'
import { readOptional } from '../kernel/fs/read-optional.ts'
import { readProxyDirectory } from './proxy-directory.ts'
import { createLogger } from '../kernel/log.ts'

export interface DoctorFlags {
  readonly config: string
  readonly root: string
  readonly rootless?: true
  readonly containerdAddress?: string
  readonly containerdNamespace: string
  readonly snapshotter?: string
  readonly output: 'text' | 'json'
}

/** Looks at this machine as an agent would and prints what it finds. @throws InsituError NODE_UNFIT with a fatal finding. */
export async function runDoctor(flags: DoctorFlags): Promise<void> {
  if (process.getuid?.() !== 0 && !flags.rootless) {
    throw new InsituError('NOT_ROOT', 'insitu doctor needs root: it asks containerd and tries a mount', {
      fix: 'run it with sudo',
    })
  }
  const agent = await runningAgent(flags.root)
  const options = {
    node: '',
    env: processEnv(),
    log: createLogger({ level: 'silent' }),
    rootless: flags.rootless === true,
    root: flags.root,
    namespace: flags.containerdNamespace,
    containerdAddress: flags.containerdAddress,
    snapshotter: flags.snapshotter,
    readConfig: () => readOptional(flags.config),
    readProxy: () => readProxyDirectory(),
  }
  const own = await makePlan(options, agent?.children)
  const proxies = await daemonProxies(options, await remembered(paths(options).run))
  // Rootless agents have no handlers.
  const emulators = own.rootless ? undefined : await examineEmulators(paths(options).run, options.env['PATH'] ?? '')
  const findings = [
    ...own.findings,
    ...(emulators?.findings ?? []),
    ...(await mirrorFindings(own)),
    ...(await checkProxies(proxies)),
  ]
  const plan: Examined = { ...own, findings, proxies, emulated: emulators?.emulated }
  console.log(flags.output === 'json' ? JSON.stringify(summary(plan, agent), undefined, 2) : describe(plan, agent))
  const count = fatal(plan.findings).length
  if (count > 0)
    throw new InsituError(
      'NODE_UNFIT',
      `${count} ${count === 1 ? 'finding keeps' : 'findings keep'} this machine from building`,
    )
}

/** Without a kubelet's plug-in there is nobody who would ask the mirror. */
async function mirrorFindings({ host, findings }: Plan): Promise<readonly Finding[]> {
  if (!host.containerd || findings.some(({ code }) => code === 'CRI_ABSENT')) return []
  return checkMirror({ address: host.distribution.address, pid: host.containerdPid, hostRoot: '/proc/1/root' })
}

interface Examined extends Plan {
  /** Those of buildkitd when it starts. */
  readonly proxies: Readonly<Record<string, string>>
  /** Architectures; undefined where there are no handlers. */
  readonly emulated: Examination['emulated'] | undefined
}

const shown = (proxies: Examined['proxies']): readonly (readonly [string, string])[] =>
  Object.entries(proxies).map(([name, value]) => [name, shownProxy(name, value)] as const)

const summary = ({ host, rendered, findings, proxies, emulated }: Examined, agent: RunningAgent | undefined) => ({
  distribution: host.distribution.name,
  containerd: { version: host.containerd?.version ?? null, ...host.distribution, name: undefined },
  snapshotter: host.snapshotter ?? null,
  network: rendered.network,
  agent: agent?.pid ?? null,
  emulated: emulated ?? null,
  proxy: Object.fromEntries(shown(proxies)),
  findings,
})

function describe(examined: Examined, agent: RunningAgent | undefined): string {
  const { rootless, host, rendered, findings, proxies, emulated } = examined
  const facts: (readonly [string, string])[] = [
    ...(rootless
      ? [['mode', 'rootless'] as const]
      : [
          ['distribution', host.distribution.name] as const,
          ['containerd', `${host.containerd?.version ?? 'no answer'} at ${host.distribution.address}`] as const,
          ['snapshotter', host.snapshotter ?? 'unknown'] as const,
        ]),
    ['network of RUN steps', networks[rendered.network]],
    ...(emulated === undefined ? [] : [['emulated', emulated.join(', ') || 'nothing'] as const]),
    ['agent', agent ? `runs, process ${agent.pid}` : 'does not run'],
    ...shown(proxies),
  ]
  const lines = facts.map(([name, value]) => `${`${name}:`.padEnd(22)}${value}`)
  return [...lines, '', ...(findings.length === 0 ? ['Nothing to complain about.'] : findings.map(explain))].join('\n')
}

const networks = { bridge: 'of its own, behind a bridge', host: 'the node’s', pod: 'the pod’s' } as const

const explain = ({ severity, code, message, fix }: Finding): string =>
  `${severity.toUpperCase()} ${code}: ${message}${fix ? `\n  fix: ${fix}` : ''}`
