import { randomBytes } from 'node:crypto'
import { bytesMessage, logMessage, type Vertex, type VertexBytes, vertexMessage } from '../../buildkit/vertex.ts'

/** A step of our own in a build's progress. What comes after `done` is ignored. */
export interface Step {
  /** Adds a line of text. */
  log(line: string): void
  /** Says how much was moved so far; `total` where it is known. Clients get a few of these a second, and the last. */
  bytes(current: number, total?: number): void
  /** Completes the step; with an error, as failed. */
  done(error?: string): void
}

/** Steps of our own in the progress of one build, for every Status stream of it, whenever that comes. */
export interface Progress {
  step(name: string): Step
  /**
   * Sends what happened so far and then what happens.
   * @param send gets encoded Status messages.
   * @returns a function that ends it.
   */
  follow(send: (message: Uint8Array) => void): () => void
  /** Completes open steps: nothing more will come. */
  end(): void
  /** Resolves at `end`. */
  readonly ended: Promise<void>
}

export interface ProgressOptions {
  readonly now?: () => Date
  /** Least milliseconds between two numbers of one step. Default 200. */
  readonly pace?: number
}

/** Lines that one step keeps for a Status that comes late. */
const mostLines = 100

interface State {
  vertex: Vertex
  bytes: VertexBytes | undefined
  /** When clients last got bytes, milliseconds. */
  told: number
  readonly lines: Uint8Array[]
}

export function createProgress({ now = () => new Date(), pace = 200 }: ProgressOptions = {}): Progress {
  const steps: State[] = []
  const followers = new Set<(message: Uint8Array) => void>()
  const ending = Promise.withResolvers<void>()
  const tell = (message: Uint8Array): void => {
    for (const send of followers) send(message)
  }
  const bytesOf = ({ vertex, bytes }: State): Uint8Array | undefined =>
    bytes && bytesMessage(vertex.digest, bytes, now())

  const complete = (state: State, error?: string): void => {
    if (state.vertex.completed) return
    const completed = now()
    if (state.bytes) {
      state.bytes = { ...state.bytes, completed }
      tell(bytesMessage(state.vertex.digest, state.bytes, completed))
    }
    state.vertex = { ...state.vertex, completed, error }
    tell(vertexMessage(state.vertex))
  }

  return {
    step(name) {
      const digest = `sha256:${randomBytes(32).toString('hex')}`
      const vertex: Vertex = { digest, name, started: now(), completed: undefined, error: undefined }
      const state: State = { vertex, bytes: undefined, told: -Infinity, lines: [] }
      steps.push(state)
      tell(vertexMessage(vertex))
      return {
        log(line) {
          if (state.vertex.completed) return
          const message = logMessage(digest, line, now())
          state.lines.push(message)
          if (state.lines.length > mostLines) state.lines.shift()
          tell(message)
        },
        bytes(current, total = 0) {
          if (state.vertex.completed) return
          const at = now()
          const started = state.bytes?.started ?? at
          state.bytes = { id: 'transferring', current, total, started, completed: undefined }
          if (at.getTime() - state.told < pace) return
          state.told = at.getTime()
          tell(bytesMessage(digest, state.bytes, at))
        },
        done: (error) => complete(state, error),
      }
    },
    follow(send) {
      for (const state of steps) {
        // A step is known to clients from its first message, and lines after its end are lost to some.
        send(vertexMessage({ ...state.vertex, completed: undefined, error: undefined }))
        for (const line of state.lines) send(line)
        const bytes = bytesOf(state)
        if (bytes) send(bytes)
        if (state.vertex.completed) send(vertexMessage(state.vertex))
      }
      followers.add(send)
      return () => void followers.delete(send)
    },
    end() {
      for (const state of steps) complete(state)
      ending.resolve()
    },
    ended: ending.promise,
  }
}
