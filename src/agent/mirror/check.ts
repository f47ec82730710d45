import type { Finding } from '../../api/node-report.ts'
import { checkHostFiles } from './certs.ts'
import { type ConfigPathOptions, registryDirectories } from './config-path.ts'
import { configPathFinding } from './registration.ts'

/** What would keep the mirror of this node from being asked, as far as files and containerd tell. Writes nothing. */
export async function checkMirror(options: ConfigPathOptions): Promise<readonly Finding[]> {
  const directories = await registryDirectories(options)
  if (directories.length === 0) return [configPathFinding]
  return checkHostFiles({ directories, hostRoot: options.hostRoot })
}
