export interface CallOptions {
  readonly signal?: AbortSignal | undefined
  /** Milliseconds for the whole call. Default 30,000. */
  readonly timeout?: number | undefined
  /** Nothing is stored; the server only says whether it would be. */
  readonly dryRun?: boolean | undefined
}
