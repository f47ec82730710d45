import type { Distribution, LogLevel, Mode } from '../manifests/options.ts'
import type { ClusterOptions } from './connect.ts'

/** The options of `insitu install` as commander hands them over. */
export interface InstallFlags extends ClusterOptions {
  readonly image?: string
  readonly imagePullSecret: readonly string[]
  readonly mode: Mode
  readonly buildkitdToml?: string
  readonly distribution: Distribution | 'auto'
  readonly containerdRoot?: string
  readonly containerdState?: string
  readonly buildkitRoot?: string
  readonly replicas: string
  readonly allowPlaintext: readonly string[]
  readonly httpProxy?: string
  readonly httpsProxy?: string
  /** `--no-proxy LIST`: commander files options that start with `no` under the rest of their name. */
  readonly proxy: string | boolean
  readonly nodeSelector: readonly string[]
  readonly toleration: readonly string[]
  readonly agentPriorityClass?: string
  readonly logLevel: LogLevel
  readonly reuseOptions?: true
  readonly resetOptions?: true
  readonly print?: true
  readonly printKinds?: true
  readonly wait: boolean
  readonly timeout: string
}

/** The options of `insitu uninstall`. */
export interface UninstallFlags extends ClusterOptions {
  readonly keepCache?: true
  readonly keepBuilds?: true
  readonly deleteBuilds?: true
  readonly deleteNamespace?: true
  readonly grace: string
  readonly timeout: string
}
