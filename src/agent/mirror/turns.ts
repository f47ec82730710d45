/**
 * Layers of one image come one after the other, in the order in which containerd unpacks them. It asks for three at once
 * and unpacks one at a time: layers that share the way all arrive at its end, and the unpacking only begins there.
 */
export interface Turns {
  /**
   * Waits until no layer of the image that comes before is under way, or for as long as containerd has patience.
   * @param position of the layer in its image.
   * @returns what ends the turn.
   */
  begin(image: string, position: number): Promise<() => void>
}

interface Waiting {
  readonly position: number
  readonly go: () => void
}

interface Line {
  running: number
  readonly waiting: Waiting[]
}

/** @param patience milliseconds. containerd waits 30 s for an answer to begin; finding a peer takes a part of that. */
export function createTurns(patience = 10_000): Turns {
  const lines = new Map<string, Line>()
  const wait = (line: Line, position: number): Promise<void> =>
    new Promise((resolve) => {
      const go = (): void => {
        clearTimeout(timer)
        line.waiting.splice(line.waiting.indexOf(one), 1)
        line.running += 1
        resolve()
      }
      const one: Waiting = { position, go }
      const timer = setTimeout(go, patience)
      line.waiting.push(one)
    })
  return {
    async begin(image, position) {
      const line = lines.get(image) ?? { running: 0, waiting: [] }
      lines.set(image, line)
      if (line.running > 0) await wait(line, position)
      else line.running += 1
      let over = false
      return () => {
        if (over) return
        over = true
        line.running -= 1
        if (line.running > 0) return
        const [next] = line.waiting.toSorted((a, b) => a.position - b.position)
        if (next) next.go()
        else lines.delete(image)
      }
    },
  }
}
