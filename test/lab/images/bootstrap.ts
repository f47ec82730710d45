import { existsSync } from 'node:fs'
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InsituError } from '../../../src/kernel/errors.ts'
import { run } from '../../../src/kernel/process/run.ts'
import { cacheDir, toolsBin } from '../layout.ts'
import { alive, lastLines, startDetached, stop } from '../processes.ts'
import { waitFor } from '../wait.ts'
import { removeTree } from '../cgroups.ts'

const group = 'insitu-bootstrap'
const dir = '/run/insitu-bootstrap'

/**
 * Runs work with a short-lived buildkitd (OCI worker, this machine's network) that takes docker.io from `registry`.
 * The caller holds the lock `image`. The daemon lives in a mount and a process namespace of its own and dies with this process: nothing of a build can be left.
 */
export async function withBuildkitd<T>(registry: string, work: (address: string) => Promise<T>): Promise<T> {
  const root = join(cacheDir, 'buildkit')
  await mkdir(root, { recursive: true })
  await rm(dir, { recursive: true, force: true })
  await mkdir(dir, { mode: 0o700 })
  const address = `unix://${dir}/buildkitd.sock`
  const config = join(dir, 'buildkitd.toml')
  const log = join(dir, 'buildkitd.log')
  await writeFile(
    config,
    `root = "${root}"
[grpc]
  address = ["${address}"]
[otel]
  socketPath = "${dir}/otel.sock"
[worker.containerd]
  enabled = false
[worker.oci]
  enabled = true
  binary = "${join(toolsBin, 'runc')}"
  networkMode = "host"
  defaultCgroupParent = "/${group}"
  gc = true
[registry."docker.io"]
  mirrors = ["${registry}"]
[registry."${registry}"]
  http = true
`,
  )
  const buildkitd = await startDetached(
    'setpriv',
    [
      '--pdeathsig',
      'KILL',
      'unshare',
      '--mount',
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
      join(toolsBin, 'buildkitd'),
      `--config=${config}`,
    ],
    { log, env: { TMPDIR: dir } },
  )
  try {
    await waitFor(
      'the bootstrap buildkitd',
      async () => {
        if (!alive(buildkitd)) throw new InsituError('LAB_BUILDKITD', `buildkitd ended: ${lastLines(log)}`)
        await run(join(toolsBin, 'buildctl'), ['--addr', address, 'debug', 'workers'], { timeout: 5000 })
        return true
      },
      { timeout: 30_000 },
    )
    return await work(address)
  } finally {
    await stop(buildkitd, 5000)
    await removeBootstrap()
  }
}

/** Removes what a build that was cut off left behind. Its processes died with it. */
export async function removeBootstrap(): Promise<void> {
  await rm(dir, { recursive: true, force: true })
  const root = '/sys/fs/cgroup'
  for (const dir of [root, ...(await readdir(root)).map((name) => join(root, name))]) {
    const path = join(dir, group)
    if (existsSync(path))
      await waitFor(`${path} to be free`, () => removeTree(path).then(() => true), { timeout: 10_000 })
  }
}
