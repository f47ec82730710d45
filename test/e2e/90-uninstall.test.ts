import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { writeFile } from 'node:fs/promises'
import { beforeAll, expect, it } from 'vitest'
import { namespace } from '../../src/api/names.ts'
import { run, type RunResult } from '../../src/kernel/process/run.ts'
import { labBuildkitdToml } from '../lab/buildkitd-toml.ts'
import { buildInsituImage } from '../lab/images/insitu.ts'
import { silent } from '../lab/progress.ts'
import { ensureLab } from '../lab/lab.ts'
import { waitFor } from '../lab/wait.ts'
import { buildctl, ensureInstalled, type Installed, open, ready, repository, temporary } from './fixtures/insitu.ts'
import { portForward } from './fixtures/port-forward.ts'

let insitu: Installed

beforeAll(async () => {
  const lab = await ensureLab({ nodes: 2 })
  await buildInsituImage(silent)
  insitu = open(lab)
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
    // ctr writes a dash for a container that was made from no image: a RUN step.
    steps: (await of(['ctr', '-n', 'k8s.io', 'containers', 'ls']))
      .split('\n')
      .filter((l) => /^\S+\s+-\s/.test(l))
      .join('\n'),
    processes: (await of(['ps', '-eo', 'comm']))
      .split('\n')
      .filter((l) => /^(buildkit|insitu)/.test(l))
      .join('\n'),
  }
}

/** What is the program's whenever it is there: what an earlier install has left is no part of how a node was. */
const leftovers = ({ lib, mounts, handlers, steps, processes }: Readonly<Record<string, string>>): string[] => [
  ...(lib ?? '').split('\n').filter((line) => line === 'buildkit'),
  ...(mounts ?? '').split('\n').filter((line) => line.includes(' /var/lib/buildkit')),
  ...(handlers ?? '').split('\n').filter((line) => /^insitu-.*@node\d+$/.test(line)),
  ...[steps ?? '', processes ?? ''].filter((part) => part !== ''),
]

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

it('emulators of a newer image take the place of the old ones; an uninstall takes them all, and nobody else’s', async () => {
  await ensureInstalled()
  const directory = '/proc/sys/fs/binfmt_misc'
  const read = async (name: string): Promise<string> =>
    (await insitu.lab.exec('node1', ['cat', `${directory}/${name}`])).stdout
  const others = async (): Promise<string[]> => {
    const names = (await insitu.lab.exec('node1', ['ls', directory])).stdout.split('\n')
    return Promise.all(names.filter((name) => name !== '' && name !== 'register' && !isAgents(name)).map(read))
  }
  const isAgents = (name: string): boolean => /^insitu-.*@node\d+$/.test(name)
  const [hosts, arm, riscv] = [await others(), await read('insitu-arm@node1'), await read('insitu-riscv64@node1')]
  const json = async (...args: string[]): Promise<string> =>
    (await insitu.kubectl(['-n', namespace, 'get', ...args])).trim()
  const container = 'jsonpath={.spec.template.spec.containers[0].image}'
  const newer = `registry.example.test/${randomBytes(3).toString('hex')}/insitu:newer`

  await using context = await temporary()
  {
    await using door = await portForward(insitu.lab)
    const lines = [
      `FROM ${await json('ds/insitu-agent', '-o', container)}`,
      'USER 0',
      // qemu does not mind; it is another file.
      'RUN echo newer >> /usr/libexec/insitu/qemu-arm-static',
      'USER 65532:65532',
      '',
    ]
    await writeFile(join(context.path, 'Dockerfile'), lines.join('\n'))
    // Everywhere: the uninstall cleans each node with the image of the agents.
    const opt = { 'insitu.node': 'node1', 'insitu.deliver': 'all' }
    await buildctl({ addr: door.addr, context: context.path, name: newer, opt })
  }
  // One node is enough; the others keep what they have.
  const updateStrategy = { type: 'OnDelete', rollingUpdate: null }
  const spec = { updateStrategy, template: { spec: { containers: [{ name: 'agent', image: newer }] } } }
  await insitu.kubectl(['-n', namespace, 'patch', 'ds', 'insitu-agent', '-p', JSON.stringify({ spec })])
  const runs = async (): Promise<string> => {
    const pod = (await insitu.agents()).get('node1')?.name ?? ''
    return json('pod', pod, '-o', 'jsonpath={.spec.containers[0].image}')
  }
  const old = (await insitu.agents()).get('node1')?.name ?? ''
  await insitu.kubectl(['-n', namespace, 'delete', 'pod', old, '--timeout=120s'])
  await ready(insitu)
  expect(await runs()).toBe(newer)

  const interpreter = (text: string): string | undefined => /^interpreter (\S+)$/m.exec(text)?.[1]
  const now = await read('insitu-arm@node1')
  expect(interpreter(now)).toMatch(/\/qemu-arm$/)
  expect(interpreter(now)).not.toBe(interpreter(arm))
  // All else is as before, of this handler and of those whose file is the same.
  expect(now.replace(/^interpreter .*$/m, '')).toBe(arm.replace(/^interpreter .*$/m, ''))
  expect(await read('insitu-riscv64@node1')).toBe(riscv)
  const line = (await cli(['nodes'])).stdout.split('\n').find((text) => text.startsWith('node1 '))
  expect(line).toMatch(/ linux\/amd64,\S* +\S*linux\/arm\/v7/)
  expect((await insitu.agents()).get('node1')?.report?.findings.filter(({ code }) => /EMUL|BINFMT/.test(code))).toEqual(
    [],
  )
  {
    await using door = await portForward(insitu.lab)
    await writeFile(
      join(context.path, 'Dockerfile'),
      'FROM busybox:multi\nRUN echo "it is $(uname -m)" && ls / | wc -l\n',
    )
    const opt = { platform: 'linux/arm/v7', 'insitu.node': 'node1', 'no-cache': '' }
    const { stderr } = await buildctl({ addr: door.addr, context: context.path, opt })
    expect(stderr).toContain('linux/arm/v7 is emulated')
    expect(stderr).toMatch(/it is armv[78]l/)
  }

  await cli(['uninstall', '--delete-builds'])
  const left = (await insitu.lab.exec('node1', ['ls', directory])).stdout.split('\n').filter(isAgents)
  expect(left).toEqual([])
  expect(await others()).toEqual(hosts)
}, 600_000)

it('insitu uninstall leaves nodes and cluster as they were; install and status explain themselves', async () => {
  // From a clean start.
  await cli(['uninstall', '--delete-builds'])
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
  for (const [node, state] of Object.entries(before)) expect(leftovers(state), node).toEqual([])
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
    // The kubelet kills this one's agent and daemon, which leave its step running.
    await writeFile(join(context.path, 'Dockerfile'), 'FROM busybox\nRUN sleep 100000\n')
    const endless = buildctl({ addr: door.addr, context: context.path, opt: { 'insitu.node': 'node1' } })
    const failed = endless.then(
      () => 'it ended',
      (error: unknown) => String(error),
    )
    const runs = async (): Promise<true | undefined> => ((await nodeState('node1'))['steps'] ? true : undefined)
    await waitFor('the step to run', runs, { timeout: 60_000 })
    await cli(['uninstall', '--delete-builds', '--grace', '1s'])
    // Not by its own limit of three minutes: the builds of others are not waited for longer than was said.
    expect(await failed).toContain('failed with exit code')
  }
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
