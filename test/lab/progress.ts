/** One line per finished step, with the time since the start: `  3.4 s  control plane answers`. */
export interface Progress {
  step(text: string): void
}

export function terminalProgress(
  now: () => number = Date.now,
  write = (s: string) => process.stderr.write(s),
): Progress {
  const start = now()
  return { step: (text) => void write(`${((now() - start) / 1000).toFixed(1).padStart(6)} s  ${text}\n`) }
}

export const silent: Progress = { step: () => undefined }
