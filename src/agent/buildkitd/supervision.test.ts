import { describe, expect, it } from 'vitest'
import { parseMountinfo } from '../../kernel/fs/mountinfo.ts'
import { createLogger } from '../../kernel/log.ts'
import { backoff } from './backoff.ts'
import { logDaemonLine } from './daemon-log.ts'
import { isBolt } from './bolt.ts'
import { blamesDatabase } from './databases.ts'
import { daemonEnvironment } from './environment.ts'
import { judgeExit, type Life } from './judge-exit.ts'
import { counters, memoryKills } from './memory-kill.ts'
import type { Plan } from '../plan.ts'
import { prelude } from './life.ts'
import { isTemporary, leftoverMounts } from './sweep.ts'

describe('the end of a daemon', () => {
  const life: Life = {
    exit: { code: 1, signal: undefined, requested: false },
    uptime: 100,
    wasReady: false,
    memoryKills: [0, 0],
    lastLines: [],
    failures: 0,
  }
  const killed = { code: undefined, signal: 'SIGKILL', requested: false }

  it('is told apart: asked for, out of memory, killed, crashed', () => {
    expect(judgeExit({ ...life, exit: { ...life.exit, requested: true } })).toMatchObject({
      cause: 'stopped',
      finding: undefined,
    })
    expect(judgeExit({ ...life, exit: killed, memoryKills: [2, 3] })).toMatchObject({
      cause: 'memory',
      finding: { code: 'DAEMON_OUT_OF_MEMORY' },
    })
    expect(judgeExit({ ...life, exit: killed })).toMatchObject({ cause: 'killed', finding: { code: 'DAEMON_DIED' } })
    expect(judgeExit({ ...life, exit: killed, memoryKills: [undefined, undefined] }).cause).toBe('killed')
    const crash = judgeExit({ ...life, memoryKills: [0, 1], lastLines: ['{"msg":"x"}', 'buildkitd: no such host', ''] })
    expect(crash).toMatchObject({ cause: 'crashed', reason: 'buildkitd ended with exit code 1: no such host' })
  })

  it('makes the databases suspect only after fast exits in a row before it was ready', () => {
    expect(judgeExit({ ...life, failures: 1 })).toMatchObject({ failures: 2, databases: 'keep' })
    expect(judgeExit({ ...life, failures: 2 })).toMatchObject({ failures: 3, databases: 'check' })
    expect(judgeExit({ ...life, failures: 2, lastLines: ['panic: invalid database'] }).databases).toBe('blamed')
    expect(judgeExit({ ...life, failures: 2, wasReady: true }).databases).toBe('keep')
    expect(judgeExit({ ...life, failures: 9, uptime: 90_000 })).toMatchObject({ failures: 0, databases: 'keep' })
  })
})

describe('before a daemon starts', () => {
  const plan = (...codes: readonly string[]): Plan => ({
    ...{ rootless: true, root: '/r', socket: '/s', configFile: '/c', config: undefined },
    host: {
      ...{ containerd: undefined, containerdPid: undefined, snapshotter: undefined, findings: [] },
      distribution: { name: 'unknown', address: '', root: '', state: '', certsDir: '' },
    },
    rendered: { toml: '', tmpdir: '', network: 'pod', bridgeName: '', findings: [] },
    findings: codes.map((code) => ({ code, severity: 'fatal', message: code })),
  })
  const agent = { node: 'n', env: {}, log: createLogger({ level: 'silent' }) }
  const rest = [(): Promise<void> => Promise.resolve()]

  it('nothing waits for the end of what the last one left, but on a full disk, where that makes room', () => {
    expect(prelude(plan(), agent, rest)[0]).toBe(rest[0])
    expect(prelude(plan('DISK_FULL'), agent, rest)[1]).toBe(rest[0])
  })
})

describe('waiting before the next start', () => {
  it('doubles, has a cap and spreads over the upper half', () => {
    const waits = (random: number) => [1, 2, 3, 20].map((n) => backoff(n, { random: () => random }))
    expect(waits(0)).toEqual([250, 500, 1000, 15_000])
    expect(waits(0.5)).toEqual([375, 750, 1500, 22_500])
  })
})

describe('memory kills', () => {
  const files: Record<string, string> = {}
  const read = (path: string) =>
    files[path] === undefined ? Promise.reject(new Error(`no ${path}`)) : Promise.resolve(files[path])

  it('are counted in cgroup v2, v1 and inside a container', async () => {
    files['/proc/self/cgroup'] = '0::/kubepods/pod1\n'
    expect(await memoryKills(read)).toBeUndefined()
    files['/sys/fs/cgroup/memory.events'] = 'low 0\noom 4\noom_kill 3\n'
    expect(await memoryKills(read)).toBe(3)
    files['/sys/fs/cgroup/kubepods/pod1/memory.events'] = 'oom_kill 5\n'
    expect(await memoryKills(read)).toBe(5)
    files['/proc/self/cgroup'] = '4:memory:/pod2\n1:cpu:/\n0::/\n'
    files['/sys/fs/cgroup/memory/pod2/memory.oom_control'] = 'oom_kill_disable 0\nunder_oom 0\noom_kill 7\n'
    expect(await memoryKills(read)).toBe(7)
    expect(counters('1:cpu,cpuacct:/x\n')).toEqual([])
  })
})

describe('bolt files', () => {
  it('are told from damaged ones by their meta pages', () => {
    // Both meta pages of a database that bbolt 1.4 wrote: magic, version 2, page size 4096, …, checksum.
    expect(isBolt(new Uint8Array())).toBe(true)
    expect(isBolt(Buffer.alloc(65_536, 0x5a))).toBe(false)
    expect(isBolt(Buffer.from('short'))).toBe(false)
    const page = Buffer.alloc(8192)
    page.writeUInt32LE(0xed0cdaed, 16)
    page.writeUInt32LE(2, 20)
    expect(isBolt(page), 'without a checksum').toBe(false)
    let hash = 0xcbf29ce484222325n
    for (const byte of page.subarray(16, 72)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n)
    page.writeBigUInt64LE(hash, 72)
    expect(isBolt(page)).toBe(true)
    const second = Buffer.concat([Buffer.alloc(4096, 1), page])
    expect(isBolt(second), 'only the second meta page is whole').toBe(true)
  })

  it('are blamed by their own words only', () => {
    expect(blamesDatabase(['panic: page 7 already freed', 'go.etcd.io/bbolt.(*freelist).free'])).toBe(true)
    expect(blamesDatabase(['buildkitd: failed to dial containerd'])).toBe(false)
  })
})

describe('leftovers', () => {
  it('are named as BuildKit names them, and nothing else is touched', () => {
    const ours = [
      'buildkit-mount12',
      'buildkit-secrets9',
      '.buildkit-ssh-sock1',
      'buildkit123',
      'buildkit-qemu-emulator77',
    ]
    for (const name of ours) expect(isTemporary(name), name).toBe(true)
    for (const name of ['buildkit', 'buildkit-secretsx', 'user-data', 'cache.db'])
      expect(isTemporary(name), name).toBe(false)
  })

  it('are unmounted latest first, without the roots and, before a restart, without network namespaces', () => {
    const line = (point: string) => `1 0 0:1 / ${point} rw - tmpfs x rw`
    const points = ['/bk', '/bk/t', '/bk/a', '/bk/a/b', '/bk/net/cni/n1', '/bkx/y', '/bk/t/s']
    const mounts = parseMountinfo(points.map(line).join('\n'))
    const directories = { root: '/bk', tmpdir: '/bk/t' }
    expect(leftoverMounts(mounts, directories, false)).toEqual(['/bk/t/s', '/bk/a/b', '/bk/a'])
    expect(leftoverMounts(mounts, directories, true)).toEqual(['/bk/t/s', '/bk/net/cni/n1', '/bk/a/b', '/bk/a'])
  })

  it('in a temporary directory elsewhere are only those with a name of BuildKit’s', () => {
    const line = (point: string) => `1 0 0:1 / ${point} rw - tmpfs x rw`
    const points = ['/t', '/t/of-others', '/t/of-others/buildkit-mount1', '/t/buildkit-mount2', '/t/buildkit123/x']
    const mounts = parseMountinfo(points.map(line).join('\n'))
    expect(leftoverMounts(mounts, { root: '/bk', tmpdir: '/t' }, true)).toEqual([
      '/t/buildkit123/x',
      '/t/buildkit-mount2',
    ])
  })
})

describe('the daemon’s environment', () => {
  it('is ours, with the temporary directory moved and our own variables kept back', () => {
    const env = {
      PATH: '/bin',
      HTTPS_PROXY: 'http://p',
      NODE_NAME: 'n',
      POD_IP: '1',
      NODE_OPTIONS: 'x',
      TMPDIR: '/tmp',
      EMPTY: undefined,
    }
    const base = { PATH: '/bin', TMPDIR: '/bk/t' }
    expect(daemonEnvironment(env, '/bk/t')).toEqual({ ...base, HTTPS_PROXY: 'http://p', https_proxy: 'http://p' })
    expect(daemonEnvironment(env, '/bk/t', {})).toEqual(base)
  })
})

describe('the daemon’s log', () => {
  it('keeps level and fields, masks credentials, and takes plain text as it is', () => {
    const lines: string[] = []
    const log = createLogger({ level: 'trace', destination: { write: (line) => void lines.push(line) } })
    logDaemonLine(log, '{"level":"warning","msg":"from http://u:p@proxy/","time":"2026-01-01","span":"abc","n":3}')
    logDaemonLine(log, 'panic: oh')
    logDaemonLine(log, '{"level":"debug","msg":"","env":["A=http://u:p@h"],"deep":{"url":"http://u:p@h"}}')
    logDaemonLine(log, ' ')
    const [first, second, third] = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(first).toMatchObject({ level: 'warn', msg: 'from http://***@proxy/', span: 'abc', n: 3 })
    expect(second).toMatchObject({ level: 'error', msg: 'panic: oh' })
    expect(third).toMatchObject({ env: ['A=http://***@h'], deep: { url: 'http://***@h' } })
    expect(lines).toHaveLength(3)
  })

  it('is cut where a build made a line long, and holds nothing up', () => {
    const lines: string[] = []
    const log = createLogger({ level: 'trace', destination: { write: (line) => void lines.push(line) } })
    const command = `exit 1 # http://u:s3cret@h ${'a.'.repeat(200_000)}`
    const started = performance.now()
    logDaemonLine(log, JSON.stringify({ level: 'error', msg: command, vertex: { command } }))
    logDaemonLine(log, `panic: ${command}`)
    expect(performance.now() - started).toBeLessThan(500)
    expect(lines).toHaveLength(2)
    for (const line of lines) {
      expect(line.length).toBeLessThan(40_000)
      expect(line).toContain('http://***@h a.a.')
      expect(line).not.toContain('s3cret')
    }
  })
})
