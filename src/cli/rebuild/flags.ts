/** The options of `insitu rebuild` as commander hands them over. */
export interface RebuildFlags {
  readonly base?: string
  readonly changed?: true
  readonly to?: string
  readonly namespace?: string
  readonly allNamespaces?: true
  readonly selector?: string
  readonly dryRun?: true
  readonly parallel: string
  readonly failFast?: true
  readonly keep: string
  readonly registry: readonly string[]
  readonly output: 'text' | 'json'
  readonly kubeconfig?: string
  readonly context?: string
}
