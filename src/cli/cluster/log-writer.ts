import { once } from 'node:events'
import type { Readable } from 'node:stream'

/** Where lines come from. */
export interface LogSource {
  readonly pod?: string | undefined
  readonly container?: string | undefined
  /** Of an attempt that was lost. */
  readonly attempt?: number | undefined
}

/** Writes what containers say. */
export interface LogWriter {
  /** What a container says, as it comes. @param timed each line begins with its time and a space. */
  stream(source: LogSource, log: Readable, timed: boolean): Promise<void>
  /** Lines that are kept elsewhere than in a log. */
  lines(source: LogSource, lines: readonly string[]): void
}

/** As it was said. */
export const textWriter = (out: NodeJS.WritableStream): LogWriter => ({
  async stream(_, log) {
    for await (const chunk of log) if (!out.write(chunk as Buffer)) await once(out, 'drain')
  },
  lines(_, lines) {
    for (const line of lines) out.write(`${line}\n`)
  },
})

/** A JSON object for each line: `{"pod", "container", "attempt", "time", "line"}`, as far as they are known. */
export function jsonWriter(out: NodeJS.WritableStream): LogWriter {
  const write = (source: LogSource, line: string, timed: boolean): boolean => {
    const [, time, rest = line] = (timed ? /^(\S+) (.*)$/s.exec(line) : null) ?? []
    return out.write(`${JSON.stringify({ ...source, time, line: rest })}\n`)
  }
  return {
    async stream(source, log, timed) {
      let rest = ''
      // Characters may be cut in two between chunks.
      const decoder = new TextDecoder()
      for await (const chunk of log) {
        const lines = (rest + decoder.decode(chunk as Buffer, { stream: true })).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) if (!write(source, line, timed)) await once(out, 'drain')
      }
      rest += decoder.decode()
      if (rest !== '') write(source, rest, timed)
    },
    lines(source, lines) {
      for (const line of lines) write(source, line, false)
    },
  }
}
