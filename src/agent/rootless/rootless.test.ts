import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parseToml } from '../../kernel/config/toml.ts'
import { explainLimits, type Limits } from './explain.ts'
import { readLimits, subordinates } from './limits.ts'
import { renderRootless } from './render.ts'
import { endLeftovers } from './user-namespace.ts'

const place = { root: '/var/lib/buildkit', socket: '/run/buildkit/buildkitd.sock' }

describe('the configuration of a rootless daemon', () => {
  test('has a worker of its own and keeps what the user says about registries', () => {
    const { toml, findings, network } = renderRootless({
      ...place,
      user: '[registry."docker.io"]\nmirrors = ["mirror:5000"]\n[worker.containerd]\nnamespace = "other"\ngc = false\n',
    })
    expect(findings).toEqual([])
    expect(network).toBe('pod')
    expect(parseToml(toml, 'rendered')).toMatchObject({
      grpc: { address: ['unix:///run/buildkit/buildkitd.sock'] },
      registry: { 'docker.io': { mirrors: ['mirror:5000'] } },
      worker: {
        containerd: { enabled: false },
        oci: { enabled: true, rootless: true, noProcessSandbox: true, networkMode: 'host' },
      },
    })
  })

  test('refuses what contradicts it, and what buildkitd would not read', () => {
    const codes = (user: string) => renderRootless({ ...place, user }).findings.map((f) => f.code)
    expect(codes('[worker.oci]\nrootless = false\n')).toEqual(['CONFIG_CONFLICT'])
    expect(codes('[worker.oci]\nrotless = true\n')).toEqual(['CONFIG_UNKNOWN_KEY'])
    expect(codes('[worker.containerd]\nsnapshoter = "x"\n')).toEqual(['CONFIG_UNKNOWN_KEY'])
  })
})

const fine: Limits = {
  trial: { failure: 'unshare --user failed with exit code 1: unshare: something else' },
  missing: [],
  user: 10_001,
  maxUserNamespaces: 96_365,
  unprivilegedClone: undefined,
  apparmorRestricts: undefined,
  apparmor: undefined,
  seccomp: false,
  noNewPrivileges: false,
  mayMapUsers: true,
  subordinates: 65_536,
}
const denied = { failure: 'unshare --user failed with exit code 1: unshare: unshare failed: Operation not permitted' }

describe('what keeps a rootless daemon from starting', () => {
  test.each<[string, Partial<Limits>, string[]]>([
    ['nothing', { trial: 'works', seccomp: true, apparmor: 'cri-containerd.apparmor.d (enforce)' }, []],
    ['a program', { missing: ['newuidmap'] }, ['PROGRAM_MISSING']],
    ['the kernel', { maxUserNamespaces: 0 }, ['USERNS_DISABLED']],
    ['an older Debian', { unprivilegedClone: 0 }, ['USERNS_DISABLED']],
    ['a newer Ubuntu', { apparmorRestricts: 1 }, ['APPARMOR_RESTRICTS_USERNS']],
    ['no new privileges', { noNewPrivileges: true }, ['NO_NEW_PRIVILEGES']],
    ['dropped capabilities', { mayMapUsers: false }, ['USER_CAPABILITIES_MISSING']],
    ['no subordinate users', { subordinates: 0 }, ['SUBUID_MISSING']],
    ['seccomp', { seccomp: true, trial: denied }, ['SECCOMP_FORBIDS']],
    ['AppArmor', { seccomp: true, apparmor: 'cri-containerd.apparmor.d (enforce)' }, ['APPARMOR_FORBIDS']],
    ['something unknown', {}, ['ROOTLESS_UNAVAILABLE']],
    [
      'Pod Security restricted, all at once',
      { noNewPrivileges: true, mayMapUsers: false, seccomp: true, trial: denied },
      ['NO_NEW_PRIVILEGES', 'USER_CAPABILITIES_MISSING', 'SECCOMP_FORBIDS'],
    ],
  ])('%s', (_, limits, codes) => {
    const findings = explainLimits({ ...fine, ...limits })
    expect(findings.map((f) => f.code)).toEqual(codes)
    for (const { fix, severity } of findings) expect([severity, fix !== undefined]).toEqual(['fatal', true])
  })

  test('is read from the files of the kernel', async () => {
    const files = await mkdtemp(join(tmpdir(), 'insitu-limits-'))
    try {
      for (const [path, text] of Object.entries({
        'proc/sys/user/max_user_namespaces': '0\n',
        'proc/sys/kernel/unprivileged_userns_clone': '0\n',
        'proc/self/status': 'NoNewPrivs:\t1\nSeccomp:\t2\nCapBnd:\t0000000000000080\n',
        'proc/self/attr/current': 'docker-default (enforce)\n',
        'etc/subuid': `${process.getuid?.()}:100000:65536\n`,
        'etc/subgid': `${process.getuid?.()}:100000:1000\n`,
      })) {
        await mkdir(join(files, path, '..'), { recursive: true })
        await writeFile(join(files, path), text)
      }
      expect(await readLimits({ env: { PATH: '/none' }, buildkitd: 'buildkitd', root: files, files })).toMatchObject({
        missing: ['buildkitd', 'unshare', 'newuidmap', 'newgidmap', 'mount', 'flock', 'rm', 'buildkit-runc'],
        ...{ maxUserNamespaces: 0, unprivilegedClone: 0, apparmorRestricts: undefined },
        ...{ apparmor: 'docker-default (enforce)', seccomp: true, noNewPrivileges: true, mayMapUsers: false },
        subordinates: 1000,
      })
    } finally {
      await rm(files, { recursive: true })
    }
  })

  test('subordinate users go by name or number, the first line counts', () => {
    const text = 'other:1:70000\nbuild:100000:65536\n10001:1:5\n'
    expect(subordinates(text, 10_001, 'build')).toBe(65_536)
    expect(subordinates(text, 10_001, 'somebody')).toBe(5)
    expect(subordinates(text, 1, 'nobody')).toBe(0)
  })
})

test('what a daemon left is told by its user namespace; ours and what cannot be looked at is let live', async () => {
  const processes = await mkdtemp(join(tmpdir(), 'insitu-proc-'))
  try {
    for (const [pid, namespace] of Object.entries({ self: 'user:[1]', 7: 'user:[1]', 8: 'user:[2]', 9: 'user:[3]' })) {
      await mkdir(join(processes, pid, 'ns'), { recursive: true })
      await symlink(namespace, join(processes, pid, 'ns/user'))
    }
    await mkdir(join(processes, '1'))
    const killed: number[] = []
    expect(await endLeftovers(processes, (pid) => void killed.push(pid))).toEqual([8, 9])
    expect(killed).toEqual([8, 9])
  } finally {
    await rm(processes, { recursive: true })
  }
})
