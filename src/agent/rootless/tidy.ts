import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { run } from '../../kernel/process/run.ts'
import { isTemporary } from '../buildkitd/sweep.ts'
import { endLeftovers, inUserNamespace } from './user-namespace.ts'

export interface TidyOptions {
  readonly root: string
  readonly tmpdir: string
  readonly socket: string
  readonly log: Logger
}

/**
 * Takes away what a daemon that ended badly left: processes of RUN steps, temporary directories, sockets. Its mounts
 * went with its mount namespace. Only while none runs. What cannot be removed is logged and stays.
 */
export async function tidy({ root, tmpdir, socket, log }: TidyOptions): Promise<void> {
  const ended = await endLeftovers()
  if (ended.length > 0) log.info({ processes: ended }, 'ended build steps whose daemon was gone')
  const paths = [socket, join(root, 'otel-grpc.sock')]
  for (const directory of new Set([tmpdir, root])) {
    for (const name of await readdir(directory).catch(() => []))
      if (isTemporary(name)) paths.push(join(directory, name))
  }
  // Their files belong to users that only exist in the user namespace.
  await run(...inUserNamespace('rm', ['-rf', '--', ...paths])).catch((error: unknown) =>
    log.warn({ err: describeError(error) }, 'something that an earlier daemon left could not be removed'),
  )
}
