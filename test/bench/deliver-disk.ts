import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../../src/kernel/process/run.ts'
import { type Installed, repository } from '../e2e/fixtures/insitu.ts'
import { stateDir } from '../lab/layout.ts'
import { waitFor } from '../lab/wait.ts'
import type { Subject } from './subjects.ts'

/** What one round of a benchmark leaves is taken away before the next: images of a gigabyte fill a disk in a few rounds. */
export async function forgetImages(
  insitu: Installed,
  subjects: readonly Subject[],
  tags: readonly string[],
): Promise<void> {
  const names = subjects.flatMap((subject) => tags.map((tag) => subject.image(tag)))
  for (const node of insitu.lab.nodes) {
    // As long as a container of it is there its agent puts the name back.
    await waitFor(`the images to be gone from ${node}`, () => forgetOn(insitu, node, names), {
      timeout: 120_000,
      interval: 1000,
    })
  }
  await run(join(repository, 'bin/insitu'), ['prune', '-o', 'json'], {
    env: { KUBECONFIG: insitu.lab.kubeconfig },
    timeout: 300_000,
  })
  for (const subject of subjects) await subject.clean?.()
  // The registry keeps what was pushed; base images are smaller than this.
  const blobs = join(stateDir, 'push-registry/docker/registry/v2/blobs')
  await run('find', [blobs, '-type', 'f', '-size', '+2300k', '-delete'], { allow: [1] })
}

/** @returns true when there was none to remove. */
async function forgetOn(insitu: Installed, node: string, names: readonly string[]): Promise<true | undefined> {
  const ctr = async (...args: string[]): Promise<string> =>
    (await insitu.lab.exec(node, ['ctr', '-n', 'k8s.io', ...args])).stdout
  const lines = (await ctr('images', 'ls')).split('\n').map((line) => line.split(/\s+/))
  const digests = new Set(lines.flatMap(([name = '', , digest]) => (names.includes(name) ? [digest] : [])))
  const gone = lines.flatMap(([name = '', , digest]) => (digests.has(digest) ? [name] : []))
  if (gone.length === 0) return true
  await ctr('images', 'rm', '--sync', ...gone)
  return undefined
}

/** @throws when the machine's disk has less than this left: nodes under disk pressure measure nothing. */
export async function needSpace(bytes: number): Promise<void> {
  await waitFor(
    `${(bytes / 1e9).toFixed(0)} GB of free disk below ${stateDir}`,
    async () => {
      const { bavail, bsize } = await statfs(stateDir)
      return bavail * bsize > bytes || undefined
    },
    { timeout: 120_000 },
  )
}
