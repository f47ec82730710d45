/**
 * A signal that aborts at the first SIGTERM or SIGINT, so that everything can be put back; a second one ends the
 * process at once. The listeners stay until then: execa's own (signal-exit) ends the process when it finds itself the
 * only listener of a signal.
 */
export function terminationSignal(): AbortSignal {
  const controller = new AbortController()
  const stop = (name: NodeJS.Signals): void => {
    if (!controller.signal.aborted) return controller.abort(new Error(`the process received ${name}`))
    process.off('SIGTERM', stop)
    process.off('SIGINT', stop)
    process.kill(process.pid, name)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  return controller.signal
}
