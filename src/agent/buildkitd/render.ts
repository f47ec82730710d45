import { isDeepStrictEqual } from 'node:util'
import { join, normalize } from 'node:path'
import { lineOf, parseToml, type TomlTable, type TomlValue, writeToml } from '../../kernel/config/toml.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { Finding } from '../../api/node-report.ts'
import { checkKeys, isTable, show } from './check-keys.ts'
import { type Collection, collectionKeys } from './collection.ts'
import { buildkitdKeys, type Kind, ownKeys } from './known-keys.ts'

export interface RenderInput {
  /** The user's buildkitd.toml; undefined: there is none and the defaults hold. */
  readonly user: string | undefined
  /** buildkitd's root, mounted at the same path in the pod and on the host. */
  readonly root: string
  /** Path of the unix socket that buildkitd listens on. */
  readonly socket: string
  readonly containerdAddress: string
  /** containerd's namespace: `k8s.io` beside a kubelet. */
  readonly namespace: string
  /** The kubelet's snapshotter. */
  readonly snapshotter: string
  /** Directory with the CNI plug-ins bridge, loopback, host-local and firewall; undefined: found on buildkitd's PATH. */
  readonly cniBinaryPath?: string | undefined
  /** Limits of its own garbage collection; undefined: BuildKit's defaults. */
  readonly collection?: Collection | undefined
}

export interface Rendered {
  /** The file for buildkitd. */
  readonly toml: string
  /** buildkitd's temporary directory, visible to containerd under the same path. */
  readonly tmpdir: string
  /** `host`: RUN steps are in containerd's own network, which is the node's. */
  readonly network: 'bridge' | 'host'
  readonly bridgeName: string
  readonly findings: readonly Finding[]
}

interface Held {
  readonly path: readonly string[]
  readonly value: TomlValue
  readonly why: string
}

/** Unix sockets of ssh mounts lie below TMPDIR, and a socket's path holds 107 bytes (unix(7)); 42 of them are BuildKit's. */
const longestTmpdir = 65

/** Directories of the system, with a slash at the end: a daemon's temporary directory has to be its own. */
const everybodys =
  /^\/((bin|boot|dev|etc|home|lib|lib64|media|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var|dev\/shm|var\/(cache|lib|log|run|tmp))\/)?$/

/** What must hold whatever the user writes. The reason completes the sentence "cannot be set, because …". */
export function mustHold(input: RenderInput): readonly Held[] {
  const containerd = ['worker', 'containerd']
  return [
    { path: ['root'], value: input.root, why: 'it is the directory that the pod shares with the node' },
    {
      path: ['grpc', 'address'],
      value: [`unix://${input.socket}`],
      why: 'the agent stands between the daemon and its only client, the gateway',
    },
    {
      path: ['otel', 'socketPath'],
      value: join(input.root, 'otel-grpc.sock'),
      why: 'containerd mounts it into RUN steps and sees only the shared directory',
    },
    { path: ['log', 'format'], value: 'json', why: 'the agent reads the daemon’s log' },
    { path: ['cdi', 'disabled'], value: true, why: 'it would give builds the devices of the node' },
    { path: ['worker', 'oci', 'enabled'], value: false, why: 'its images are not in the node’s containerd' },
    { path: [...containerd, 'enabled'], value: true, why: 'it is the worker that shares images with the node' },
    { path: [...containerd, 'address'], value: input.containerdAddress, why: 'it is where the node’s containerd is' },
    {
      path: [...containerd, 'namespace'],
      value: input.namespace,
      why: input.namespace === 'k8s.io' ? 'the kubelet only sees k8s.io' : 'the agent was started for this namespace',
    },
    {
      path: [...containerd, 'snapshotter'],
      value: input.snapshotter,
      why: 'the kubelet starts containers from this snapshotter',
    },
    { path: [...containerd, 'rootless'], value: false, why: 'the node’s containerd runs as root' },
  ]
}

/**
 * The user's buildkitd.toml, merged with what must hold. Never throws for what a user wrote: the mistakes are fatal
 * findings (all of them at once), and `toml` must then not be used.
 */
export function render(input: RenderInput): Rendered {
  const text = input.user ?? ''
  const findings: Finding[] = []
  let user: TomlTable = {}
  try {
    user = parseToml(text, 'buildkitd.toml')
    findings.push(...checkKeys(user, text))
  } catch (error) {
    if (!(error instanceof InsituError)) throw error
    findings.push({ code: error.code, severity: 'fatal', message: error.message, fix: error.fix })
  }
  if (findings.length > 0) {
    return { toml: '', tmpdir: join(input.root, 'local-mnt-src'), network: 'bridge', bridgeName: '', findings }
  }

  const conflict = (path: readonly string[], value: unknown, why: string): void => {
    const line = lineOf(text, path)
    const code = path.at(-1) === 'snapshotter' ? 'SNAPSHOTTER_MISMATCH' : 'CONFIG_CONFLICT'
    findings.push({
      code,
      severity: 'fatal',
      message: `buildkitd.toml${line === undefined ? '' : ` line ${line}`}: ${show(path)} = ${JSON.stringify(value)} cannot be: ${why}`,
      fix: `remove ${show(path)} from the ConfigMap buildkitd.toml`,
    })
  }

  const merged = normalise(user, { table: buildkitdKeys }) as MutableTable
  for (const held of mustHold(input)) {
    const value = get(user, held.path)
    if (value !== undefined && !isDeepStrictEqual(value, held.value)) {
      conflict(held.path, value, `${held.why}; it is ${JSON.stringify(held.value)}`)
    }
    set(merged, held.path, held.value)
  }
  const tls = get(user, ['grpc', 'tls'])
  if (tls !== undefined) conflict(['grpc', 'tls'], tls, 'the agent ends TLS in front of the daemon')

  const worker = get(user, ['worker', 'containerd'])
  const limits = collectionKeys(isTable(worker) ? worker : {}, input.collection)
  for (const [key, value] of Object.entries(limits)) set(merged, ['worker', 'containerd', key], value)

  const tmpdir = takeLocalMountRoot(merged, input, conflict)
  const mode = networkMode(merged, input)
  findings.push(...mode.findings)
  return { toml: writeToml(merged), tmpdir, network: mode.network, bridgeName: mode.bridgeName, findings }
}

function takeLocalMountRoot(
  merged: MutableTable,
  input: RenderInput,
  conflict: (path: readonly string[], value: unknown, why: string) => void,
): string {
  let tmpdir = join(input.root, 'local-mnt-src')
  for (const path of ownKeys) {
    const value = get(merged, path)
    if (value === undefined) continue
    set(merged, path, undefined)
    if (typeof value !== 'string' || !value.startsWith('/')) {
      conflict(path, value, 'it must be an absolute path that exists on the node and in the pod')
    } else if (everybodys.test(normalize(`${value}/`))) {
      conflict(path, value, 'others use that directory too, and what builds leave is swept from it')
    } else if (Buffer.byteLength(value) > longestTmpdir) {
      conflict(path, value, `sockets of ssh mounts lie below it, so it may have ${longestTmpdir} characters at most`)
    } else {
      tmpdir = normalize(value).replace(/\/+$/, '')
    }
  }
  return tmpdir
}

function networkMode(
  merged: MutableTable,
  input: RenderInput,
): { network: 'bridge' | 'host'; bridgeName: string; findings: Finding[] } {
  const at = (key: string): string[] => ['worker', 'containerd', key]
  const asked = get(merged, at('networkMode'))
  // buildkitd's own "auto" falls back to the node's network without a word, so it means bridge here.
  const mode = typeof asked !== 'string' || asked === 'auto' || asked === '' ? 'bridge' : asked
  set(merged, at('networkMode'), mode)
  if (mode === 'bridge' && get(merged, at('cniBinaryPath')) === undefined && input.cniBinaryPath !== undefined) {
    set(merged, at('cniBinaryPath'), input.cniBinaryPath)
  }
  const bridge = get(merged, at('bridgeName'))
  const bridgeName = typeof bridge === 'string' && bridge !== '' ? bridge : 'buildkit0'
  if (mode === 'bridge' || mode === 'cni') return { network: 'bridge', bridgeName, findings: [] }
  if (mode === 'host') {
    return {
      network: 'host',
      bridgeName,
      findings: [
        {
          code: 'NETWORK_HOST',
          severity: 'info',
          message: 'RUN steps use the node’s network, as worker.containerd.networkMode = "host" says',
          fix: 'remove networkMode to give RUN steps the pod’s network',
        },
      ],
    }
  }
  return {
    network: 'bridge',
    bridgeName,
    findings: [
      {
        code: 'CONFIG_TYPE',
        severity: 'fatal',
        message: `buildkitd.toml: worker.containerd.networkMode = ${JSON.stringify(mode)} must be "bridge", "cni" or "host"`,
        fix: 'correct the value in the ConfigMap buildkitd.toml',
      },
    ],
  }
}

interface MutableTable {
  [key: string]: TomlValue | MutableTable | undefined
}

/**
 * Sizes and durations become strings: the writer groups the digits of large numbers (`10_000`), which TOML allows and
 * buildkitd's parsers of these two kinds do not.
 */
function normalise(value: unknown, kind: Kind): unknown {
  if ((kind === 'size' || kind === 'duration') && (typeof value === 'number' || typeof value === 'bigint')) {
    return value.toString()
  }
  if (typeof kind !== 'object') return value
  if ('tables' in kind) return (value as readonly unknown[]).map((entry) => normalise(entry, { table: kind.tables }))
  const kindOf = (key: string): Kind => ('table' in kind ? (kind.table[key] ?? 'any') : kind.each)
  return Object.fromEntries(Object.entries(value as TomlTable).map(([key, v]) => [key, normalise(v, kindOf(key))]))
}

function get(table: TomlTable | MutableTable, path: readonly string[]): unknown {
  let at: unknown = table
  for (const part of path) at = isTable(at) ? at[part] : undefined
  return at
}

function set(table: MutableTable, path: readonly string[], value: TomlValue | undefined): void {
  const [first, ...rest] = path
  if (first === undefined) return
  if (rest.length === 0) {
    if (value === undefined) delete table[first]
    else table[first] = value
    return
  }
  if (!isTable(table[first])) table[first] = {}
  set(table[first], rest, value)
}
