import { current, openLab } from './lab.ts'
import { stop } from './processes.ts'
import { silent } from './progress.ts'
import { up } from './up.ts'

const file = '/etc/kubernetes/kubelet.json'
const original = `${file}.original`

/** Starts a node's kubelet again with settings on top of the lab's own; none puts it back. */
export async function restartKubelet(node: string, settings: Readonly<Record<string, unknown>>): Promise<void> {
  const lab = openLab()
  await lab.exec(node, ['cp', '-n', file, original])
  const { stdout } = await lab.exec(node, ['cat', original])
  const input = JSON.stringify({ ...(JSON.parse(stdout) as object), ...settings })
  await lab.exec(node, ['tee', file], { input })
  await stop(current().processes[`${node}/kubelet`], 2000)
  await up({ progress: silent })
}
