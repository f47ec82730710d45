import { readFile } from 'node:fs/promises'
import { basename, dirname, join, matchesGlob, resolve } from 'node:path'
import { readdir } from 'node:fs/promises'
import { parseToml, type TomlTable } from '../../kernel/config/toml.ts'
import { unary } from '../../kernel/grpc/unary.ts'
import { messages, string, stringMap } from '../../kernel/grpc/wire.ts'

export interface ConfigPathOptions {
  /** containerd's socket. */
  readonly address: string
  /** containerd's process id as this process sees it. */
  readonly pid: number | undefined
  readonly hostRoot: string
}

/**
 * The directories in which the running containerd looks for hosts of registries. It is asked itself where it tells
 * (2.2 in its plug-ins' exports, 1.x in the CRI status), else its configuration file is read.
 * @returns empty when it looks nowhere.
 */
export async function registryDirectories(options: ConfigPathOptions): Promise<readonly string[]> {
  const told = (await fromPlugins(options.address)) ?? (await fromStatus(options.address))
  const found = told ?? (await fromFile(options)) ?? ''
  return found.split(':').filter((path) => path.startsWith('/'))
}

async function fromPlugins(address: string): Promise<string | undefined> {
  const answer = await unary({ socket: address, method: '/containerd.services.introspection.v1.Introspection/Plugins' })
  const images = messages(answer, 1).find(
    (plugin) => string(plugin, 1) === 'io.containerd.cri.v1' && string(plugin, 2) === 'images',
  )
  return images ? stringMap(images, 5)['RegistryConfigPath'] : undefined
}

async function fromStatus(address: string): Promise<string | undefined> {
  try {
    const method = '/runtime.v1.RuntimeService/Status'
    const status = await unary({ socket: address, method, request: Uint8Array.of(8, 1) })
    const config = JSON.parse(stringMap(status, 2)['config'] ?? '{}') as { registry?: { configPath?: string } }
    return config.registry?.configPath
  } catch {
    return undefined
  }
}

async function fromFile({ pid, hostRoot }: ConfigPathOptions): Promise<string | undefined> {
  const words = (await readFile(`/proc/${pid ?? 0}/cmdline`, 'utf8').catch(() => '')).split('\0')
  const flag = words.findIndex((word) => word === '--config' || word === '-c')
  const joined = words.find((word) => word.startsWith('--config='))
  const file = joined?.slice('--config='.length) ?? (flag < 0 ? '/etc/containerd/config.toml' : (words[flag + 1] ?? ''))
  return readConfig(file, hostRoot, new Set())
}

/** The main file's value wins over those of its imports, as containerd merges them the other way round: last one wins. */
async function readConfig(file: string, hostRoot: string, seen: Set<string>): Promise<string | undefined> {
  if (seen.has(file)) return undefined
  seen.add(file)
  const text = await readFile(join(hostRoot, file), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  let table: TomlTable
  try {
    table = parseToml(text, file)
  } catch {
    return undefined
  }
  let value = configPathOf(table)
  const imports = Array.isArray(table['imports']) ? (table['imports'] as readonly unknown[]) : []
  for (const pattern of imports.filter((one): one is string => typeof one === 'string')) {
    const path = resolve(dirname(file), pattern)
    const names = await readdir(join(hostRoot, dirname(path))).catch(() => [])
    for (const name of names.filter((one) => matchesGlob(one, basename(path))).sort()) {
      value = (await readConfig(join(dirname(path), name), hostRoot, seen)) ?? value
    }
  }
  return value
}

/** Both places: containerd 2.x keeps images in a plug-in of their own, 1.x in the CRI plug-in. */
export function configPathOf(config: TomlTable): string | undefined {
  for (const plugin of ['io.containerd.cri.v1.images', 'io.containerd.grpc.v1.cri']) {
    const path = ['plugins', plugin, 'registry', 'config_path'].reduce<unknown>(
      (table, key) => (table as TomlTable | undefined)?.[key],
      config,
    )
    if (typeof path === 'string' && path !== '') return path
  }
  return undefined
}
