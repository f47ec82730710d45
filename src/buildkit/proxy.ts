/** Proxy variables by name. Either case may occur in what comes from outside; `mergeProxies` writes upper case. */
export type ProxyVariables = Readonly<Record<string, string>>

/** What a build gets: variables of insitu, `off` for none at all, undefined where insitu has no say in it. */
export type ProxyChoice = ProxyVariables | 'off' | undefined

/** The build arguments that Dockerfile frontends know without ARG and keep out of image, history and cache key. */
export const proxyNames = ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'] as const

/** Build arguments about proxies, in whatever case: frontends of Dockerfiles do not look at it. */
const option = /^build-arg:((?:https?|ftp|no|all)_proxy)$/i

/**
 * Merges sources variable by variable, later ones win, an empty value switches one off. Where both cases of a name
 * differ in one source the lower one counts, as in curl.
 * @returns names in upper case, values that are not empty.
 */
export function mergeProxies(...sources: readonly ProxyVariables[]): Record<string, string> {
  const merged: Record<string, string> = {}
  for (const source of sources) {
    for (const name of proxyNames) {
      const value = source[name.toLowerCase()] ?? source[name]
      if (value !== undefined) merged[name] = value
    }
  }
  return Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== ''))
}

/** What a client says itself, in the options of its build; names in upper case, empty values included. */
export function proxyOfOptions(options: ProxyVariables): Record<string, string> {
  const said = Object.entries(options).flatMap(([key, value]) => {
    const name = option.exec(key)?.[1]
    return name === undefined ? [] : [{ name, value }]
  })
  // Frontends read the lower case last.
  const sorted = said.toSorted((a, b) => (a.name < b.name ? -1 : 1))
  return Object.fromEntries(sorted.map(({ name, value }) => [name.toUpperCase(), value]))
}

/** The options without what they say of proxies. The same object when they say nothing. */
export function withoutProxies<T extends ProxyVariables>(options: T): T {
  const rest = Object.entries(options).filter(([key]) => !option.test(key))
  return rest.length === Object.keys(options).length ? options : (Object.fromEntries(rest) as T)
}

const isProxyName = (name: string): boolean => (proxyNames as readonly string[]).includes(name.toUpperCase())

/**
 * The proxy variables of an environment or a ConfigMap, either case. Values may hold credentials; one from a file
 * (`kubectl create secret --from-file`) ends with the file's last line break, which is taken off.
 */
export function proxyVariables(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      isProxyName(name) && value !== undefined ? [[name, value.trim()]] : [],
    ),
  )
}

/** An environment without them. */
export const withoutProxyVariables = (env: ProxyVariables): Record<string, string> =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !isProxyName(name)))

/** The environment of a process: in both cases, because programs read either. */
export const proxyEntries = (variables: ProxyVariables): Record<string, string> =>
  Object.fromEntries(
    Object.entries(mergeProxies(variables)).flatMap(([name, value]) => [
      [name, value],
      [name.toLowerCase(), value],
    ]),
  )

/**
 * Adds proxy variables to frontend options as build arguments. Variable by variable: what the client says, in either
 * case and even if it is empty, is left alone.
 *
 * For Dockerfiles a name is written as `Http_Proxy`: their frontends look for proxies in any case and give RUN steps
 * both, but a Dockerfile that says `ARG HTTP_PROXY` would get the value of an argument of that very name written into
 * the image's history and into the cache key (BuildKit v0.33.1, frontend/dockerfile/dockerfile2llb, convert.go). Other
 * frontends may look for the usual names only, and get those.
 */
export function withProxy(options: ProxyVariables, frontend: string, proxy: ProxyChoice): Record<string, string> {
  if (proxy === undefined) return { ...options }
  if (proxy === 'off') return { ...withoutProxies(options) }
  const result: Record<string, string> = { ...options }
  const said = proxyOfOptions(options)
  const names = readsDockerfiles(frontend, options['source']) ? [capitalized] : [(n: string) => n, lower]
  for (const [name, value] of Object.entries(mergeProxies(proxy))) {
    if (said[name] === undefined) for (const spelled of names) result[`build-arg:${spelled(name)}`] = value
  }
  return result
}

const lower = (name: string): string => name.toLowerCase()
const capitalized = (name: string): string =>
  name
    .split('_')
    .map((word) => word.slice(0, 1) + lower(word.slice(1)))
    .join('_')

/** Upstream's frontend, built in or as an image (`docker/dockerfile:1`, a mirror of it, `docker/dockerfile-upstream`). */
const readsDockerfiles = (frontend: string, source = ''): boolean =>
  frontend !== 'gateway.v0' || /(^|\/)dockerfile(-upstream)?([:@]|$)/.test(source)
