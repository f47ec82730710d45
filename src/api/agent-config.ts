/** The `[agent]` table of insitu.toml. */
export interface AgentConfig {
  readonly images: {
    /** So many of the newest built images of each repository are pinned, used or not. */
    readonly keep: number
    /** Seconds after its build during which one of them is kept. */
    readonly keepFor: number
  }
}

export const defaultAgentConfig: AgentConfig = {
  images: { keep: 3, keepFor: 7 * 24 * 3600 },
}
