/** Who sends an image to whom, next. */
export interface Transfer {
  readonly target: string
  readonly source: string
}

export interface PlanState {
  /** Nodes that have the image, with the transfers that run from each. */
  readonly sources: ReadonlyMap<string, number>
  /** Nodes that want it and get it from nobody yet, in order. */
  readonly waiting: readonly string[]
  /** Most transfers from one node at a time. */
  readonly perSource: number
}

/**
 * The transfers that can begin now. Each goes to the source with the least to do; who has got the image is a source in
 * the next call, so the number of sources multiplies from round to round and no link carries everything.
 */
export function nextTransfers({ sources, waiting, perSource }: PlanState): Transfer[] {
  const busy = new Map(sources)
  const transfers: Transfer[] = []
  for (const target of waiting) {
    let best: string | undefined
    for (const [source, running] of busy) {
      if (running < perSource && (best === undefined || running < (busy.get(best) ?? 0))) best = source
    }
    if (best === undefined) break
    busy.set(best, (busy.get(best) ?? 0) + 1)
    transfers.push({ target, source: best })
  }
  return transfers
}
