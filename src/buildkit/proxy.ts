type Variables = Readonly<Record<string, string>>

/** The build arguments that Dockerfile frontends know without ARG and keep out of image, history and cache key. */
const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'] as const
const prefix = 'build-arg:'

/**
 * Adds proxy variables to frontend options as build arguments, each in both cases, because programs read either.
 * Variable by variable: what the client says, in either case and even if it is empty, is left alone. Frontends read
 * the lower case last, so adding the other case next to a client's value would override it.
 * @param environment the variables of the node's agent; upper and lower case may differ, lower case wins, as in curl.
 */
export function withProxy(options: Variables, environment: Variables): Record<string, string> {
  const result: Record<string, string> = { ...options }
  const said = new Set(
    Object.keys(options)
      .filter((key) => key.startsWith(prefix))
      .map((key) => key.slice(prefix.length).toUpperCase()),
  )
  for (const name of names) {
    const value = environment[name.toLowerCase()] ?? environment[name]
    if (value === undefined || value === '' || said.has(name)) continue
    result[prefix + name] = value
    result[prefix + name.toLowerCase()] = value
  }
  return result
}
