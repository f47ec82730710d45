import { readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { InsituError } from '../../kernel/errors.ts'

/** PATH_MAX: the kernel takes no longer ones. */
const longest = 4096

/**
 * A path of the node with its symbolic links followed as the node would: through /proc/PID/root the kernel would take
 * absolute ones from our own root, and the mount table knows real paths only.
 * @param onHost where a path of the node can be seen by this process.
 */
export async function withoutLinks(path: string, onHost: (path: string) => string): Promise<string> {
  if (path.length > longest) throw new InsituError('CLEAN', 'a path is longer than the kernel takes')
  const rest = path.split('/').filter((part) => part !== '')
  let at = '/'
  for (let links = 0, part = rest.shift(); part !== undefined; part = rest.shift()) {
    const next = join(at, part)
    const target = await readlink(onHost(next)).catch(() => undefined)
    if (target !== undefined && ++links > 40) throw new InsituError('CLEAN', `${path} has too many symbolic links`)
    if (target === undefined) at = next
    else {
      if (target.startsWith('/')) at = '/'
      rest.unshift(...target.split('/').filter((word) => word !== '' && word !== '.'))
    }
  }
  return at
}
