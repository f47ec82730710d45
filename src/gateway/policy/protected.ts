/** Names that a node has and that insitu did not build there: no build may overwrite them. */
export interface ProtectedNames {
  /** @returns the first of the names that one of the nodes protects. */
  find(
    images: readonly string[],
    nodes: readonly string[],
    signal: AbortSignal,
  ): Promise<{ readonly name: string; readonly node: string } | undefined>
}
