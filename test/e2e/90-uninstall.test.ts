import { join } from 'node:path'
import { writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { run, type RunResult } from '../../src/kernel/process/run.ts'
import { labBuildkitdToml } from '../lab/buildkitd-toml.ts'
import { buildInsituImage } from '../lab/images/insitu.ts'
import { silent } from '../lab/progress.ts'
import { ensureLab } from '../lab/lab.ts'
import { waitFor } from '../lab/wait.ts'
import { buildctl, ensureInstalled, type Installed, open, repository, temporary } from './fixtures/insitu.ts'
import { portForward } from './fixtures/port-forward.ts'

let insitu: Installed

beforeAll(async () => {
  const lab = await ensureLab({ nodes: 2 })
  await buildInsituImage(silent)
  insitu = open(lab)
})
afterAll(async () => {
  await ensureInstalled()
})

const cli = (args: readonly string[], allow: readonly number[] = []): Promise<RunResult> =>
  run(join(repository, 'bin/insitu'), args, {
    env: { KUBECONFIG: insitu.lab.kubeconfig },
    timeout: 280_000,
    allow: [0, ...allow],
  })

/** What an install may not leave behind on a node: files with their content, mounts, links, packet filter rules, processes. */
async function nodeState(node: string): Promise<Record<string, string>> {
  const of = async (command: readonly string[]): Promise<string> =>
    (await insitu.lab.exec(node, command, { allow: [1] })).stdout
  return {
    etc: await of([
      'sh',
      '-c',
      'find /etc -xdev -type f -print0 | sort -z | xargs -0 sha256sum; find /etc -xdev ! -type f -printf "%p %y %m %l\\n" | sort',
    ]),
    // The network plugin's own directories come with the first pod of whatever kind on a node.
    lib: await of(['sh', '-c', 'ls -A /var/lib /run /opt | grep -v -x -e "" -e cni -e netns']),
    // Mounts come and go with pods; those of pods are the kubelet's own.
    mounts: (await of(['cat', '/proc/1/mountinfo']))
      .split('\n')
      .map((l) => l.split(' ').slice(3, 5).join(' '))
      .filter(
        (l) => !/\/var\/lib\/kubelet\/pods|\/run\/containerd\/io\.containerd|\/run\/netns|\/var\/run\/netns/.test(l),
      )
      .sort()
      .join('\n'),
    handlers: await of(['ls', '/proc/sys/fs/binfmt_misc']),
    links: (await of(['ls', '/sys/class/net']))
      .split('\n')
      .filter((l) => !l.startsWith('veth') && l !== 'cni0')
      .join('\n'),
    processes: (await of(['ps', '-eo', 'comm']))
      .split('\n')
      .filter((l) => /^(buildkit|insitu)/.test(l))
      .join('\n'),
  }
}

/** The lines that one state has and the other has not, each with its part: what a failure is about. */
function difference(before: Readonly<Record<string, string>>, now: Readonly<Record<string, string>>): string[] {
  return Object.keys(before).flatMap((part) => {
    const old = (before[part] ?? '').split('\n')
    const is = (now[part] ?? '').split('\n')
    return [
      ...old.filter((line) => !is.includes(line)).map((line) => `${part} lost: ${line}`),
      ...is.filter((line) => !old.includes(line)).map((line) => `${part} has more: ${line}`),
    ]
  })
}

it('insitu uninstall leaves nodes and cluster as they were; install and status explain themselves', async () => {
  // From a clean start.
  await cli(['uninstall'])
  await waitFor(
    'the pods to be gone',
    async () => {
      const pods = await insitu.kubectl(['get', 'pods', '-A', '-l', 'app.kubernetes.io/name=insitu', '-o', 'name'])
      return pods === '' ? true : undefined
    },
    { timeout: 120_000 },
  )
  const before = Object.fromEntries(
    await Promise.all(insitu.lab.nodes.map(async (n) => [n, await nodeState(n)] as const)),
  )
  const absent = await cli(['status'], [1])
  expect(absent.exitCode).toBe(1)
  expect(absent.stdout + absent.stderr).toMatch(/not installed/i)

  await using directory = await temporary()
  const config = join(directory.path, 'buildkitd.toml')
  await writeFile(config, await labBuildkitdToml())
  const install = await cli(['install', '--buildkitd-toml', config])
  expect(install.stderr + install.stdout).toMatch(/node1/)
  const status = JSON.parse((await cli(['status', '--output', 'json'])).stdout) as unknown
  expect(JSON.stringify(status)).toContain('node2')
  // Again is no error and changes nothing.
  await cli(['install', '--buildkitd-toml', config])

  {
    await using door = await portForward(insitu.lab)
    await using context = await temporary()
    await writeFile(
      join(context.path, 'Dockerfile'),
      'FROM busybox\nRUN --mount=type=cache,target=/c echo used > /c/x\n',
    )
    for (const node of insitu.lab.nodes) {
      await buildctl({
        addr: door.addr,
        context: context.path,
        name: `example.test/uninstall:${node}`,
        opt: { 'insitu.node': node },
      })
    }
  }
  await cli(['uninstall'])
  for (const node of insitu.lab.nodes) {
    await waitFor(
      `${node} to be as before`,
      async () => {
        const other = difference(before[node] ?? {}, await nodeState(node))
        if (other.length > 0) throw new Error(other.join('; '))
        return true
      },
      { timeout: 30_000 },
    )
  }
  const kinds = 'clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,namespace'
  expect(await insitu.kubectl(['get', kinds, '-l', 'app.kubernetes.io/name=insitu', '-o', 'name'])).toBe('')
  // What people built stays theirs.
  expect((await insitu.lab.exec('node1', ['ctr', '-n', 'k8s.io', 'images', 'ls', '-q'])).stdout).toContain(
    'example.test/uninstall:node1',
  )
}, 600_000)
