interface Line {
  readonly vertexes?: readonly { readonly name: string; readonly started?: string; readonly completed?: string }[]
}

/**
 * How long RUN steps were running in a build, from the first that began to the last that ended. They run side by side.
 * @param output of `buildx build --progress=rawjson`.
 * @returns seconds; 0 when none ran.
 */
export function secondsOfSteps(output: string): number {
  let [first, last] = [Infinity, -Infinity]
  for (const text of output.split('\n')) {
    if (!text.startsWith('{')) continue
    for (const { name, started, completed } of (JSON.parse(text) as Line).vertexes ?? []) {
      if (started === undefined || completed === undefined || !/^\[[^\]]*\] RUN /.test(name)) continue
      first = Math.min(first, Date.parse(started))
      last = Math.max(last, Date.parse(completed))
    }
  }
  return last < first ? 0 : (last - first) / 1000
}
