/**
 * A signal that aborts at the first SIGTERM, SIGINT or SIGHUP (the terminal is gone), so that everything can be put
 * back; a second one ends the process at once. The listeners stay until then: execa's own (signal-exit) ends the
 * process when it finds itself the only listener of a signal.
 */
export function terminationSignal(): AbortSignal {
  const endings = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
  const controller = new AbortController()
  const stop = (name: NodeJS.Signals): void => {
    if (!controller.signal.aborted) return controller.abort(new Error(`the process received ${name}`))
    for (const ending of endings) process.off(ending, stop)
    process.kill(process.pid, name)
  }
  for (const ending of endings) process.on(ending, stop)
  // What is said to a terminal that is gone must not end the process before its time.
  process.stderr.on('error', () => undefined)
  return controller.signal
}

/** Settles when the signal aborts, or at once when it has. */
export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
