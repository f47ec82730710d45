import { join } from 'node:path'
import { proxyNames } from '../buildkit/proxy.ts'
import { readOptional } from '../kernel/fs/read-optional.ts'

/** Where the ConfigMap `insitu-proxy` of the install is mounted into agents: a file for each variable. */
const mounted = '/etc/insitu-proxy'

/** The proxy variables of the install, as they are there: an empty one switches off what the environment says. */
export async function readProxyDirectory(directory = mounted): Promise<Record<string, string>> {
  const names = proxyNames.flatMap((name) => [name, name.toLowerCase()])
  const values = await Promise.all(
    names.map(async (name) => [name, await readOptional(join(directory, name))] as const),
  )
  return Object.fromEntries(values.flatMap(([name, value]) => (value === undefined ? [] : [[name, value.trim()]])))
}
