import { describe, expect, it } from 'vitest'
import { parseToml } from '../../kernel/config/toml.ts'
import type { Kind, Schema } from './known-keys.ts'
import { buildkitdKeys } from './known-keys.ts'
import { mustHold, render, type RenderInput } from './render.ts'

const input: RenderInput = {
  user: undefined,
  root: '/var/lib/buildkit',
  socket: '/run/buildkit/buildkitd.sock',
  containerdAddress: '/run/containerd/containerd.sock',
  namespace: 'k8s.io',
  snapshotter: 'overlayfs',
}
const withUser = (user: string) => render({ ...input, user })
const codes = (user: string) => withUser(user).findings.map((finding) => finding.code)

/** A value of each kind, in TOML. */
const sample = (kind: Exclude<Kind, object>): string =>
  ({ string: '"text"', bool: 'true', int: '7', strings: '["a"]', duration: '"48h"', size: '"10GB"', any: '{ a = 1 }' })[
    kind
  ]

/** Every setting of the schema as one line of TOML: `path.to.key = value`. */
function everyKey(schema: Schema, path: readonly string[] = []): { path: string[]; line: string }[] {
  return Object.entries(schema).flatMap(([key, kind]) => {
    const here = [...path, `"${key}"`]
    const line = (value: string) => [{ path: [...path, key], line: `${here.join('.')} = ${value}` }]
    if (typeof kind !== 'object') return line(sample(kind))
    if ('table' in kind) return everyKey(kind.table, here)
    if ('tables' in kind) {
      return everyKey(kind.tables).map((entry) => ({
        path: [...path, key, ...entry.path],
        line: `${here.join('.')} = [{ ${entry.line} }]`,
      }))
    }
    if (typeof kind.each !== 'object') return line(`{ name = ${sample(kind.each)} }`)
    return 'table' in kind.each ? everyKey(kind.each.table, [...here, '"docker.io"']) : []
  })
}

const held = new Set(['grpc.tls.cert', 'grpc.tls.key', 'grpc.tls.ca', ...mustHold(input).map((h) => h.path.join('.'))])

describe('rendering buildkitd.toml', () => {
  it('holds the defaults when there is no file', () => {
    const { toml, findings, tmpdir, network } = render(input)
    expect(findings).toEqual([])
    expect(tmpdir).toBe('/var/lib/buildkit/local-mnt-src')
    expect(network).toBe('bridge')
    expect(parseToml(toml, 'rendered')).toEqual({
      root: '/var/lib/buildkit',
      grpc: { address: ['unix:///run/buildkit/buildkitd.sock'] },
      otel: { socketPath: '/var/lib/buildkit/otel-grpc.sock' },
      log: { format: 'json' },
      cdi: { disabled: true },
      worker: {
        oci: { enabled: false },
        containerd: {
          enabled: true,
          address: '/run/containerd/containerd.sock',
          namespace: 'k8s.io',
          snapshotter: 'overlayfs',
          rootless: false,
          networkMode: 'bridge',
          cniPoolSize: 1,
        },
      },
    })
  })

  const keys = everyKey(buildkitdKeys).map(({ path, line }) => ({ name: path.join('.').replaceAll('"', ''), line }))
  const plain = parseToml(render(input).toml, 'rendered')

  it.each(keys.filter(({ name }) => !held.has(name) && !name.endsWith('networkMode')))(
    '$name changes the output',
    ({ line }) => {
      const { toml, findings } = withUser(line)
      expect(findings).toEqual([])
      expect(parseToml(toml, 'rendered')).not.toEqual(plain)
    },
  )

  it.each(keys.filter(({ name }) => held.has(name) && !name.startsWith('grpc.tls')))(
    '$name is not the user’s to change',
    ({ name, line }) => {
      const wanted = mustHold(input).find((h) => h.path.join('.') === name)?.value
      const other = typeof wanted === 'boolean' ? line.replace(/= .*/, `= ${String(!wanted)}`) : line
      expect(codes(other)).toEqual([name.endsWith('snapshotter') ? 'SNAPSHOTTER_MISMATCH' : 'CONFIG_CONFLICT'])
      const same = line.replace(/= .*/, `= ${JSON.stringify(wanted)}`)
      expect(codes(same)).toEqual([])
    },
  )

  it.each([
    { input: 'root' },
    { input: 'socket' },
    { input: 'containerdAddress' },
    { input: 'namespace' },
    { input: 'snapshotter' },
    { input: 'cniBinaryPath' },
  ])('the agent’s own $input changes the output', ({ input: field }) => {
    expect(parseToml(render({ ...input, [field]: '/other' }).toml, 'rendered')).not.toEqual(plain)
  })

  it('takes local-mount-source-root out, wherever it is written', () => {
    for (const text of [
      'local-mount-source-root = "/mnt/x/"',
      '[worker.containerd]\nlocal-mount-source-root = "/mnt/x"',
    ]) {
      const { toml, tmpdir, findings } = withUser(text)
      expect(findings).toEqual([])
      expect(tmpdir).toBe('/mnt/x')
      expect(parseToml(toml, 'rendered')).toEqual(plain)
    }
  })

  it('warns of a root below which sockets of ssh mounts have no room, unless they lie elsewhere', () => {
    const root = `/mnt/${'x'.repeat(46)}`
    expect(render({ ...input, root }).findings).toEqual([])
    const long = { ...input, root: `${root}x` }
    expect(render(long).findings).toMatchObject([{ code: 'ROOT_TOO_LONG', severity: 'warning' }])
    expect(render({ ...long, user: 'local-mount-source-root = "/mnt/x"' }).findings).toEqual([])
  })

  it('refuses a local-mount-source-root that is relative or too long for sockets', () => {
    expect(codes('local-mount-source-root = "x"')).toEqual(['CONFIG_CONFLICT'])
    expect(codes(`local-mount-source-root = "/${'x'.repeat(70)}"`)).toEqual(['CONFIG_CONFLICT'])
  })

  it.each(['/', '/tmp', '/tmp/', '/var/tmp', '/var/lib/', '//dev/./shm'])(
    'refuses %s as local-mount-source-root: others use it too',
    (path) => {
      expect(codes(`local-mount-source-root = "${path}"`)).toEqual(['CONFIG_CONFLICT'])
    },
  )

  it('writes large sizes and durations so that buildkitd can read them', () => {
    const { toml } = withUser(
      '[worker.containerd]\nreservedSpace = 10000000000\n[history]\nmaxAge = 86400\nmaxEntries = 50000',
    )
    expect(toml).toContain('reservedSpace = "10000000000"')
    expect(toml).toContain('maxAge = "86400"')
  })

  it('names line and neighbour of unknown keys, all of them at once', () => {
    const messages = withUser('rot = "/x"\n[worker.containerd]\n  # c\n  gckepstorage = 1\n').findings.map(
      (f) => f.message,
    )
    expect(messages[0]).toMatch(/line 1.*rot.*root/)
    expect(messages[1]).toMatch(/line 4.*gckepstorage.*gckeepstorage/)
  })

  it('says where a misplaced key belongs', () => {
    expect(withUser('nameservers = ["10.0.0.10"]').findings[0]?.message).toContain('[dns]')
  })

  it('names the line of a value of the wrong kind', () => {
    expect(withUser('debug = true\n[history]\nmaxAge = "long"').findings[0]).toMatchObject({
      code: 'CONFIG_TYPE',
      message: expect.stringMatching(/line 3.*history.maxAge/),
    })
    expect(codes('registry = "docker.io"')).toEqual(['CONFIG_TYPE'])
    expect(codes('[worker]\ncontainerd = 3')).toEqual(['CONFIG_TYPE'])
  })

  it('reports the node’s network when the user asks for it, and nothing else', () => {
    const { network, findings } = withUser('[worker.containerd]\nnetworkMode = "host"')
    expect(network).toBe('host')
    expect(findings.map((f) => [f.code, f.severity])).toEqual([['NETWORK_HOST', 'info']])
    expect(withUser('[worker.containerd]\nnetworkMode = "auto"').network).toBe('bridge')
    expect(codes('[worker.containerd]\nnetworkMode = "brigde"')).toEqual(['CONFIG_TYPE'])
  })
})
