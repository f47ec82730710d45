import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { fakeGrpc } from '../../../test/unit/fake-grpc.ts'
import type { Finding } from '../../api/node-report.ts'
import { fieldOf } from '../../kernel/grpc/wire.ts'
import { createLogger } from '../../kernel/log.ts'
import type { Plan } from '../plan.ts'
import { farewell, isAlone, mayCleanUp, type RootUse } from './life.ts'

const fatal = (code: string): Finding => ({ code, severity: 'fatal', message: code })
const warning: Finding = { code: 'DISK_LOW', severity: 'warning', message: '' }

test.each<[string, boolean, Partial<RootUse>]>([
  ['holds the lock and runs no daemon', true, {}],
  ['holds it on a full disk', true, { findings: [fatal('DISK_FULL'), warning] }],
  ['could not start a daemon for another reason', true, { findings: [fatal('START_FAILED')] }],
  ['lost the lock', false, { locked: false }],
  ['runs a daemon', false, { daemonPid: 7 }],
  ['has seen another buildkitd on its root', false, { findings: [warning, fatal('ROOT_IN_USE')] }],
  ['has seen one in its namespace', false, { findings: [fatal('NAMESPACE_IN_USE')] }],
  ['found the lock with another agent', false, { findings: [fatal('LOCKED')] }],
  ['could not look for others', false, { findings: [fatal('CONTAINERD_SILENT')] }],
])('an agent that %s is alone: %s', (_, alone, more) => {
  expect(isAlone({ locked: true, daemonPid: undefined, findings: [], ...more })).toBe(alone)
})

test.each<[string, boolean, Partial<RootUse>]>([
  ['holds the lock and runs no daemon', true, {}],
  ['has a wrong configuration by now', true, { findings: [fatal('CONFIG_TYPE')] }],
  ['lost the lock', false, { locked: false }],
  ['runs a daemon', false, { daemonPid: 7 }],
  ['has seen another buildkitd on its root', false, { findings: [warning, fatal('ROOT_IN_USE')] }],
  ['could not look for others', false, { findings: [fatal('CONTAINERD_SILENT')] }],
])('an agent that %s puts away what its daemon left: %s', (_, may, more) => {
  expect(mayCleanUp({ locked: true, daemonPid: undefined, findings: [], ...more })).toBe(may)
})

/** A containerd with one RUN step below the root. @returns its socket, and what was asked of it that changes something. */
async function containerdWithStep(root: string): Promise<{ address: string; changes: string[] }> {
  const changes: string[] = []
  const spec = JSON.stringify({ mounts: [{ destination: '/etc/hosts', source: `${root}/hosts` }] })
  const address = await fakeGrpc((method) => {
    if (method.endsWith('Containers/List')) {
      return fieldOf(1, Buffer.concat([fieldOf(1, 'step'), fieldOf(5, fieldOf(2, spec))]))
    }
    changes.push(method.split('.').at(-1) ?? '')
    return new Uint8Array()
  })
  return { address, changes }
}

test.each([
  ['is put away', true, [], ['Tasks/Kill', 'Tasks/Delete', 'Containers/Delete']],
  ['stays where somebody else may use it by now', false, ['buildkit123', 'buildkitd.sock'], []],
])('what a daemon left below its root %s, and the agent’s own file goes', async (_, alone, left, changes) => {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-life-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const root = join(directory, 'root')
  const configFile = join(directory, 'buildkitd.toml')
  await mkdir(join(root, 'buildkit123'), { recursive: true })
  for (const path of [configFile, join(root, 'buildkitd.sock')]) await writeFile(path, '')
  const containerd = await containerdWithStep(root)
  const plan: Plan = {
    ...{ rootless: false, root, socket: join(root, 'buildkitd.sock'), configFile, config: undefined, findings: [] },
    host: {
      ...{ containerd: undefined, containerdPid: undefined, snapshotter: undefined, findings: [] },
      distribution: { name: 'unknown', address: containerd.address, root: '', state: '', certsDir: '' },
    },
    rendered: { toml: '', tmpdir: join(root, 'tmp'), network: 'host', bridgeName: '', findings: [] },
  }
  const agent = { node: 'n', env: {}, log: createLogger({ level: 'silent' }), runDirectory: join(directory, 'run') }
  for (const step of farewell(plan, agent, () => alone)) await step()
  expect((await readdir(root)).sort()).toEqual(left)
  expect(await readdir(directory)).toEqual(['root'])
  expect(containerd.changes).toEqual(changes)
})
