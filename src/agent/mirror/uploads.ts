/**
 * How many other nodes read from this one at a time. The rest is sent away for a moment: by then somebody else has the
 * image too, so that many pullers form a tree and the link of the builder is not the limit.
 */
export interface Uploads {
  /** @returns what ends this upload, or undefined when there are enough pullers. */
  begin(client: string, urgent: boolean): (() => void) | undefined
  readonly clients: number
}

export interface UploadsOptions {
  /** Default 3. */
  readonly most?: number
  /** Milliseconds for which a puller keeps its place between two layers. Default 500. */
  readonly linger?: number
}

export function createUploads({ most = 3, linger = 500 }: UploadsOptions = {}): Uploads {
  const clients = new Map<string, { active: number; timer: NodeJS.Timeout | undefined }>()
  return {
    begin(client, urgent) {
      const known = clients.get(client)
      if (!known && clients.size >= most && !urgent) return undefined
      const entry = known ?? { active: 0, timer: undefined }
      clearTimeout(entry.timer)
      entry.active += 1
      clients.set(client, entry)
      let over = false
      return () => {
        if (over) return
        over = true
        entry.active -= 1
        if (entry.active > 0) return
        entry.timer = setTimeout(() => clients.delete(client), linger)
        entry.timer.unref()
      }
    },
    get clients() {
      return clients.size
    },
  }
}
