import { InsituError } from '../kernel/errors.ts'

/** Operating systems and processors that Go, and so containerd, has names for: `go tool dist list`. */
const systems = new Set(['aix', 'android', 'darwin', 'dragonfly', 'freebsd', 'illumos', 'ios', 'js', 'linux'])
for (const name of ['netbsd', 'openbsd', 'plan9', 'solaris', 'wasip1', 'wasi', 'windows']) systems.add(name)
const processors = new Set(['386', 'amd64', 'arm', 'arm64', 'loong64', 'mips', 'mips64', 'mips64le', 'mipsle', 'ppc64'])
for (const name of ['ppc64le', 'riscv64', 's390x', 'sparc64', 'wasm', 'wasm32']) processors.add(name)

/** Other names that containerd takes: github.com/containerd/platforms, database.go. */
const aliases: Readonly<Record<string, string>> = {
  i386: '386',
  x86_64: 'amd64',
  'x86-64': 'amd64',
  aarch64: 'arm64',
  armhf: 'arm/v7',
  armel: 'arm/v6',
}

const variants: Readonly<Record<string, RegExp>> = {
  amd64: /^v[1-4]$/,
  arm: /^v?[5-8]$/,
  arm64: /^v?[89](\.\d)?$/,
  riscv64: /^rva\d+u64$/,
}

/**
 * A platform as clients write it (`linux/arm/v7`, `arm64`, `aarch64`), in the form in which nodes list theirs. `local`
 * is the platform of whatever node builds: undefined.
 * @throws InsituError PLATFORM (INVALID_ARGUMENT)
 */
export function normalizePlatform(text: string): string | undefined {
  if (text === 'local') return undefined
  const lower = text.trim().toLowerCase()
  // `windows(10.0.17763)/amd64` says the version of the system, which is for the image and not for the node.
  const parts = lower.replace(/^([a-z0-9]+)\([^()/]*\)/, '$1').split('/')
  if (parts.some((part) => !/^[a-z0-9_.-]+$/.test(part)) || parts.length > 3) throw wrong(text, 'it is malformed')
  const [first = '', ...rest] = parts
  const [system, processor, variant] = parts.length === 1 ? ['linux', ...split(first)] : [first, ...split(...rest)]
  if (system === undefined || !systems.has(system)) {
    throw wrong(text, parts.length === 1 ? `there is no processor "${first}"` : `there is no system "${system ?? ''}"`)
  }
  if (!processors.has(processor)) throw wrong(text, `there is no processor "${processor}"`)
  if (variant !== undefined && !(variants[processor]?.test(variant) ?? false)) {
    throw wrong(text, `${processor} has no variant "${variant}"`)
  }
  const v = variant === undefined || variant.startsWith('v') || variant.startsWith('rva') ? variant : `v${variant}`
  return [system, processor, ...(v === undefined ? [] : [v])].join('/')
}

function split(processor = '', variant?: string): [string, string | undefined] {
  const [name = '', own] = (aliases[processor] ?? processor).split('/')
  return [name, variant ?? own]
}

const wrong = (text: string, why: string): InsituError =>
  new InsituError('PLATFORM', `"${text}" is not a platform: ${why}`, {
    status: 'INVALID_ARGUMENT',
    fix: 'write it as linux/amd64, linux/arm64 or linux/arm/v7, several with commas between them',
  })
