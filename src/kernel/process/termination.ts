/**
 * A signal that aborts at the first SIGTERM or SIGINT, so that everything can be put back. After that the signals have
 * their usual effect again: a second one ends the process at once.
 */
export function terminationSignal(): AbortSignal {
  const controller = new AbortController()
  const stop = (name: NodeJS.Signals): void => {
    process.off('SIGTERM', stop)
    process.off('SIGINT', stop)
    controller.abort(new Error(`the process received ${name}`))
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  return controller.signal
}
