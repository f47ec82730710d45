import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { defaultOptions } from '../../src/cli/manifests/options.ts'
import { buildctl, ensureInstalled, type Installed, temporary } from '../e2e/fixtures/insitu.ts'
import { digestOn } from '../e2e/fixtures/node-images.ts'
import { portForward } from '../e2e/fixtures/port-forward.ts'
import { waitFor } from '../lab/wait.ts'
import type { BenchOptions } from './benches.ts'
import { type Measurement, type Report, summarize } from './report.ts'

const node = 'node1'
/** Milliseconds between two looks. */
const interval = 10

/**
 * How long a name of a node points to another image after somebody has tagged it so with `ctr`: one that the node has pulled, and one
 * that insitu built, for which a gateway's word is waited for first. From before `ctr` is started until another `ctr`, of those that are
 * started one after the other, says that the name is right again: more than it was, by the start of one or two of them.
 */
export async function benchPutBack({ runs, progress }: BenchOptions): Promise<Report> {
  progress('lab and install')
  const insitu = await ensureInstalled()
  const { ctr, put } = namesOf(insitu)
  const id = randomBytes(3).toString('hex')
  // As kubelets pull it, only that nobody starts anything from it.
  const pulled = 'quay.io/library/busybox:latest'
  const built = `put-back.example.test/${id}:1`
  await ctr('pull', '--hosts-dir', '/etc/containerd/certs.d', pulled)
  await using context = await temporary()
  await writeFile(join(context.path, 'Dockerfile'), `FROM scratch\nCOPY Dockerfile /\nLABEL of=${id}\n`)
  const own = { name: built, opt: { 'insitu.node': node, 'insitu.deliver': 'none' } }
  {
    await using door = await portForward(insitu.lab)
    await buildctl({ addr: door.addr, context: context.path, ...own })
  }
  try {
    const measurements: Measurement[] = []
    for (const [what, name] of [
      ['a name that the node has pulled', pulled],
      ['a name that insitu built', built],
    ] as const) {
      const right = await digestOn(insitu.lab, node, name)
      if (right === undefined) throw new Error(`${node} does not have ${name}`)
      progress(`${name}: ${right}`)
      // The agent sees what has just come a moment later; the first time is not counted.
      await sleep(2000)
      await put(name, right)
      const values: number[] = []
      for (let round = 1; round <= runs; round++) {
        values.push(await put(name, right))
        if (round % 10 === 0) progress(`${what}: ${round}/${runs}, the last after ${values.at(-1)!.toFixed(0)} ms`)
      }
      measurements.push({ case: what, subject: 'put back', unit: 'ms', values })
    }
    return summarize('put-back', 'put back', measurements)
  } finally {
    await ctr('rm', pulled, built)
  }
}

function namesOf({ lab }: Installed) {
  const ctr = (...args: string[]) => lab.exec(node, ['ctr', '-n', 'k8s.io', 'images', ...args])
  /** Tags another image with the name. @returns milliseconds until it is right again. */
  const put = async (name: string, right: string): Promise<number> => {
    const begun = performance.now()
    await ctr('tag', '--force', defaultOptions().image, name)
    await waitFor('the name to be put back', async () => (await digestOn(lab, node, name)) === right || undefined, {
      timeout: 30_000,
      interval,
    })
    return performance.now() - begun
  }
  return { ctr, put }
}
