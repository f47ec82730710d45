/** One timer per name. They keep no process alive. */
export function createTimers() {
  const timers = new Map<string, NodeJS.Timeout>()
  const clear = (name: string): void => {
    clearTimeout(timers.get(name))
    timers.delete(name)
  }
  return {
    /** Leaves a timer that runs already as it is. */
    set(name: string, milliseconds: number, work: () => void): void {
      if (timers.has(name)) return
      const timer = setTimeout(() => {
        timers.delete(name)
        work()
      }, milliseconds)
      timer.unref()
      timers.set(name, timer)
    },
    clear,
    stop(): void {
      for (const name of [...timers.keys()]) clear(name)
    },
  }
}
