import { chmod, mkdir, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { dirname } from 'node:path'
import { answerDisk, type SocketAnswers } from './api.ts'
import type { NodeDisk } from './node.ts'

export interface DiskSocket {
  /** Takes no more requests; those under way are cut off. */
  close(): Promise<void>
}

/**
 * Serves usage and prune on a unix socket that only root can open: `insitu du` and `insitu prune` run beside it, on the
 * node itself or in the agent's pod, where Kubernetes' own right to exec decides who may.
 * @param path replaced when an agent that was killed has left it.
 */
export async function serveDisk(path: string, disk: NodeDisk, others: SocketAnswers): Promise<DiskSocket> {
  await mkdir(dirname(path), { recursive: true })
  await rm(path, { force: true })
  const server = createServer((request, response) => void answerDisk(disk, others, request, response))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  await chmod(path, 0o600)
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
