import type { Finding } from '../../api/node-report.ts'
import { kubeletSettings } from '../host/kubelet.ts'
import { checkHostFiles } from './certs.ts'
import { type ConfigPathOptions, registryDirectories } from './config-path.ts'
import { configPathFinding } from './registration.ts'
import { pullsAreSerial, serialPullsFinding } from './serial-pulls.ts'

/** What would keep the mirror of this node from being asked, or pulls from being held by it, as far as files and containerd tell. Writes nothing. */
export async function checkMirror(options: ConfigPathOptions): Promise<readonly Finding[]> {
  const directories = await registryDirectories(options)
  if (directories.length === 0) return [configPathFinding]
  const serial = pullsAreSerial(await kubeletSettings()) ? [serialPullsFinding] : []
  return [...(await checkHostFiles({ directories, hostRoot: options.hostRoot })), ...serial]
}
