import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe } from 'vitest'
import { recordAttributes } from '../../src/buildkit/history.ts'
import { grpcConnection } from '../../src/kernel/grpc/connection.ts'
import { historySuite } from '../history-suite.ts'
import { type Buildkitd, startBuildkitd } from './fixtures/buildkitd.ts'
import { buildctl } from './fixtures/clients.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'

const owner = 'person alice'

/** Builds an image with a layer that cannot be compressed. @returns the build's ref. */
async function build(daemon: Buildkitd, work: Workspace): Promise<string> {
  const context = await work.context('COPY random /random\n', { random: randomBytes(3 << 20) })
  const files = await work.directory()
  const ref = join(files, 'ref')
  const { exitCode, output } = await buildctl(daemon.address, context, [
    ...[`--output=type=oci,dest=${join(files, 'image.tar')}`, `--opt=${recordAttributes.owner}=${owner}`],
    `--ref-file=${ref}`,
  ]).ended
  if (exitCode !== 0) throw new Error(output)
  return (await readFile(ref, 'utf8')).trim()
}

describe('the history of a buildkitd', () => {
  historySuite(async () => {
    const [daemon, work] = [await startBuildkitd(), await createWorkspace()]
    const refs = [await build(daemon, work), await build(daemon, work)] as const
    const connection = grpcConnection(daemon.socket)
    return {
      ...{ refs, owner },
      async ask(method, request) {
        const answers: Uint8Array[] = []
        await connection.stream({ method, request, timeout: 30_000 }, (message) => void answers.push(message))
        return answers
      },
      async close() {
        connection.close()
        await daemon.stop()
        await work.remove()
      },
    }
  })
})
