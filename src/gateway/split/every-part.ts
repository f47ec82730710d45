import type { BuildPart } from './split-build.ts'

/**
 * Does something for every part at the same time. The first that fails ends the others, and its error is the one that
 * is thrown, once all have ended.
 */
export async function everyPart<T>(
  parts: readonly BuildPart[],
  signal: AbortSignal,
  work: (part: BuildPart, signal: AbortSignal) => Promise<T>,
): Promise<T[]> {
  const failing = new AbortController()
  const both = AbortSignal.any([signal, failing.signal])
  let first: { readonly error: unknown } | undefined
  const results = await Promise.all(
    parts.map(async (part) => {
      try {
        return { value: await work(part, both) }
      } catch (error) {
        first ??= { error }
        if (!failing.signal.aborted) failing.abort(error instanceof Error ? error : new Error('another part failed'))
        return undefined
      }
    }),
  )
  if (first) throw first.error
  return results.flatMap((result) => (result ? [result.value] : []))
}
