import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** What a running kubelet was configured with. */
export interface KubeletSettings {
  /** Its configuration file and the drop-ins after it, in their order: a later one wins. Unreadable ones are empty. */
  readonly files: readonly Readonly<Record<string, unknown>>[]
  /** Its command line without the program. Flags win over files. */
  readonly args: readonly string[]
}

/** The value of a flag as pflag reads it; the last one counts. */
export function flag(args: readonly string[], name: string): string | undefined {
  const at = args.findLastIndex((arg) => arg === `--${name}` || arg.startsWith(`--${name}=`))
  if (at < 0) return undefined
  return args[at]?.includes('=') ? args[at].slice(name.length + 3) : args[at + 1]
}

/**
 * The kubelet that runs on this machine, from its process' command line and the files that it names. undefined where
 * there is none, or where it is part of another program (k3s, microk8s).
 * @param proc the node's /proc, seen with hostPID.
 */
export async function kubeletSettings(proc = '/proc'): Promise<KubeletSettings | undefined> {
  for (const pid of (await readdir(proc).catch(() => [])).filter((name) => /^\d+$/.test(name))) {
    const [program, ...args] = (await readFile(join(proc, pid, 'cmdline'), 'utf8').catch(() => '')).split('\0')
    if (!program?.endsWith('kubelet')) continue
    const onHost = (path: string): string => join(proc, pid, 'root', path)
    const file = flag(args, 'config')
    const folder = flag(args, 'config-dir')
    const dropIns = folder === undefined ? [] : await readdir(onHost(folder)).catch(() => [])
    const files = [
      ...(file === undefined ? [] : [file]),
      ...dropIns
        .filter((name) => name.endsWith('.conf'))
        .sort()
        .map((name) => join(folder ?? '', name)),
    ]
    const texts = await Promise.all(files.map((path) => readFile(onHost(path), 'utf8').catch(() => '')))
    return { files: await parseAll(texts), args }
  }
  return undefined
}

async function parseAll(texts: readonly string[]): Promise<Readonly<Record<string, unknown>>[]> {
  // YAML's parser is needed once: it does not have to stay in an agent that finds no kubelet.
  const { parseYaml } = await import('../../kernel/k8s/yaml.ts')
  return texts.map((text) => {
    try {
      const [value] = parseYaml(text)
      return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
    } catch {
      return {}
    }
  })
}
