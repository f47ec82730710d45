import { readFile } from 'node:fs/promises'
import { isCidr } from '../../kernel/cidr.ts'
import { proxyUrlTrouble } from '../../buildkit/proxy-url.ts'
import { UsageError } from '../../kernel/errors.ts'
import type { InstallFlags } from './flags.ts'
import { defaultOptions, type Distribution, distributionPaths, type ManifestOptions } from '../manifests/options.ts'
import { checkBuildkitdToml } from './check-toml.ts'
import { isObjectName, parseDuration, parseHostPath, parseImageName, parseLabels, parseToleration } from './parse.ts'

/** What the command line says, checked, on top of the defaults. @throws UsageError */
export async function optionsFrom(flags: InstallFlags, distribution: Distribution): Promise<ManifestOptions> {
  const defaults = defaultOptions()
  const path = (value: string | undefined, option: string, fallback: string): string =>
    value === undefined ? fallback : parseHostPath(value, option)
  const usual = distributionPaths[distribution]
  const notCidr = flags.allowPlaintext.find((cidr) => !isCidr(cidr))
  if (notCidr !== undefined) throw new UsageError(`--allow-plaintext "${notCidr}" is not an address or a range`)
  if (!/^[1-9]\d{0,2}$/.test(flags.replicas)) throw new UsageError(`--replicas "${flags.replicas}" is not 1 to 999`)
  if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(flags.namespace)) {
    throw new UsageError(`--namespace "${flags.namespace}" is not a name that a namespace can have`)
  }
  const agentPriorityClass = flags.agentPriorityClass ?? defaults.agentPriorityClass
  if (!isObjectName(agentPriorityClass)) {
    throw new UsageError(`--agent-priority-class "${agentPriorityClass}" is not a name that a PriorityClass can have`)
  }
  const notSecret = flags.imagePullSecret.find((name) => !isObjectName(name))
  if (notSecret !== undefined) {
    throw new UsageError(`--image-pull-secret "${notSecret}" is not a name that a Secret can have`)
  }
  if (flags.mode === 'rootless') refuseNodePaths(flags)
  return {
    namespace: flags.namespace,
    image: flags.image === undefined ? defaults.image : parseImageName(flags.image, '--image: '),
    imagePullSecrets: flags.imagePullSecret,
    replicas: Number(flags.replicas),
    mode: flags.mode,
    paths: {
      containerdRoot: path(flags.containerdRoot, '--containerd-root', usual.containerdRoot),
      containerdState: path(flags.containerdState, '--containerd-state', usual.containerdState),
      buildkitRoot: path(flags.buildkitRoot, '--buildkit-root', defaults.paths.buildkitRoot),
    },
    allowPlaintext: flags.allowPlaintext,
    agentEnv: proxyEnv(flags),
    tolerations: flags.toleration.map(parseToleration),
    nodeSelector: parseLabels(flags.nodeSelector, '--node-selector'),
    agentPriorityClass,
    logLevel: flags.logLevel,
    buildkitdToml: flags.buildkitdToml === undefined ? undefined : await readToml(flags.buildkitdToml),
    present: defaults.present,
  }
}

/** The same for `--print`, with all that is checked without a cluster: what is printed is applied without a further look. */
export async function optionsToPrint(flags: InstallFlags): Promise<ManifestOptions> {
  parseDuration(flags.timeout)
  const options = await optionsFrom(flags, flags.distribution === 'auto' ? 'kubeadm' : flags.distribution)
  if (options.buildkitdToml !== undefined) await checkBuildkitdToml(options.buildkitdToml, options.paths.buildkitRoot)
  return options
}

/** Agents without privilege have nothing of their node. */
function refuseNodePaths({ containerdRoot, containerdState, buildkitRoot }: InstallFlags): void {
  const paths = Object.entries({
    '--containerd-root': containerdRoot,
    '--containerd-state': containerdState,
    '--buildkit-root': buildkitRoot,
  })
  const given = paths.find(([, path]) => path !== undefined)
  if (given) throw new UsageError(`${given[0]} means nothing with --mode rootless: no path of a node is used`)
}

function proxyEnv(flags: InstallFlags): Record<string, string> {
  const { httpProxy, httpsProxy, namespace } = flags
  if (httpProxy !== undefined) checkProxyUrl(httpProxy, '--http-proxy', namespace)
  if (httpsProxy !== undefined) checkProxyUrl(httpsProxy, '--https-proxy', namespace)
  const exceptions = typeof flags.proxy === 'string' ? flags.proxy : undefined
  const given = { HTTP_PROXY: httpProxy, HTTPS_PROXY: httpsProxy, NO_PROXY: exceptions }
  return Object.fromEntries(Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== undefined))
}

/** An empty one switches a proxy off. */
function checkProxyUrl(url: string, option: string, namespace: string): void {
  // Who can read a DaemonSet could read the password, and so could who can list this machine's processes.
  if (url.includes('@')) {
    const name = option.slice(2).replace('-', '_').toUpperCase()
    throw new UsageError(`the proxy URL of ${option} holds credentials`, {
      fix: `put it into a Secret, which agents read: kubectl -n ${namespace} create secret generic insitu-proxy --from-file=${name}=FILE`,
    })
  }
  const trouble = url === '' ? undefined : proxyUrlTrouble(url)
  if (trouble !== undefined) throw new UsageError(`${option} ${trouble}`, { fix: 'write http://HOST:PORT' })
}

async function readToml(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new UsageError(`--buildkitd-toml ${file} cannot be read`, { cause })
  }
}
