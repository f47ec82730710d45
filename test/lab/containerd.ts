import { current, openLab } from './lab.ts'
import { stop } from './processes.ts'
import { silent } from './progress.ts'
import { up } from './up.ts'

/** Starts a node's containerd again with another configuration, and waits until the node is whole. */
export async function restartContainerd(node: string, config: string): Promise<void> {
  await openLab().exec(node, ['tee', '/etc/containerd/config.toml'], { input: config })
  await stop(current().processes[`${node}/containerd`], 5000)
  await up({ progress: silent })
}
