/** How the buildkitd of a node ended. */
export interface DaemonEnd {
  readonly cause: 'stopped' | 'memory' | 'hung' | 'killed' | 'crashed'
  /** A sentence without a full stop: `buildkitd was killed by SIGKILL`. */
  readonly reason: string
}
