import { readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { readForeign } from './foreign-files.ts'
import { withoutLinks } from './host-path.ts'

/** What a running kubelet was configured with. */
export interface KubeletSettings {
  /**
   * Its configuration file and the drop-ins after it, in their order: each is a JSON merge patch of what comes before.
   * Unreadable ones are empty, and so is the first where it has no file.
   */
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
  const kubelet = await findKubelet(proc)
  if (!kubelet) return undefined
  const { args, root } = kubelet
  const file = flag(args, 'config')
  const folder = flag(args, 'config-dir')
  const files = [file, ...(folder === undefined ? [] : await dropIns(root, folder))]
  const texts = await Promise.all(files.map(async (path) => (path === undefined ? undefined : readForeign(root, path))))
  return { files: await parseAll(texts.map((text) => text ?? '')), args }
}

/**
 * Processes of pods can be called kubelet too, and are in other process namespaces than the first process of the node;
 * only a pod with hostPID is not. The kubelet itself may have mounts of its own (a container of the node, as on Talos),
 * but one that has the node's goes before.
 */
async function findKubelet(proc: string): Promise<{ args: readonly string[]; root: string } | undefined> {
  const namespaceOf = (pid: string, kind: 'pid' | 'mnt'): Promise<string | undefined> =>
    readlink(join(proc, pid, 'ns', kind)).catch(() => undefined)
  const [processes, mounts] = await Promise.all([namespaceOf('1', 'pid'), namespaceOf('1', 'mnt')])
  if (processes === undefined) return undefined
  let contained: { args: readonly string[]; root: string } | undefined
  for (const pid of (await readdir(proc).catch(() => [])).filter((name) => /^\d+$/.test(name))) {
    const [program, ...args] = (await readFile(join(proc, pid, 'cmdline'), 'utf8').catch(() => '')).split('\0')
    if (!program?.endsWith('kubelet') || (await namespaceOf(pid, 'pid')) !== processes) continue
    const found = { args, root: join(proc, pid, 'root') }
    if ((await namespaceOf(pid, 'mnt')) === mounts) return found
    contained ??= found
  }
  return contained
}

/** Paths of the drop-ins, in the order of Go's filepath.WalkDir: folders below are walked where they stand, links are not. */
async function dropIns(root: string, folder: string): Promise<string[]> {
  const onHost = (path: string): string => join(root, path)
  const entries = await withoutLinks(folder, onHost)
    .then((path) => readdir(onHost(path), { withFileTypes: true }))
    .catch(() => [])
  const found: string[] = []
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) found.push(...(await dropIns(root, path)))
    else if (entry.name.endsWith('.conf')) found.push(path)
  }
  return found
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
