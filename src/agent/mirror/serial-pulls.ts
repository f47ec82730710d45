import type { Finding } from '../../api/node-report.ts'
import { flag, type KubeletSettings } from '../host/kubelet.ts'

/**
 * Whether the kubelet pulls one image at a time, which is its default: pkg/kubelet/apis/config/v1beta1/defaults.go. One
 * that is not seen is part of k3s or microk8s, which set `serialize-image-pulls=false`.
 */
export function pullsAreSerial(kubelet: KubeletSettings | undefined): boolean {
  if (!kubelet) return false
  // null in a drop-in takes away what an earlier file said.
  const last = (key: string): unknown => kubelet.files.findLast((file) => file[key] !== undefined)?.[key]
  const most = last('maxParallelImagePulls')
  const parallel = typeof most === 'number' && most > 1
  const told = serialFlag(kubelet.args) ?? last('serializeImagePulls')
  // In parallel with one at a time is one at a time.
  return typeof told === 'boolean' ? told || most === 1 : !parallel
}

/** A flag of pflag's bool: without `=` it is true. */
function serialFlag(args: readonly string[]): boolean | undefined {
  const name = 'serialize-image-pulls'
  const last = args.findLast((arg) => arg === `--${name}` || arg.startsWith(`--${name}=`))
  if (last === undefined) return undefined
  return last === `--${name}` || !['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(flag([last], name) ?? '')
}

/**
 * Milliseconds that a pull waits for a build although other pods of the node may wait behind it: as long as the kubelet's first
 * back-off. So a build that is nearly done spares its pod the back-off, and half of the time is left to the others.
 */
export const serialHold = 10_000

export const serialPullsFinding: Finding = {
  code: 'PULLS_SERIAL',
  severity: 'info',
  message:
    'the kubelet pulls one image at a time, so that a pull that waits for a build stops all others: it is held while no other pod of the node waits for an image, else for 10 seconds, and tried again by the kubelet’s back-off',
  fix: 'set serializeImagePulls: false in the kubelet’s configuration, and maxParallelImagePulls not at all or well above the number of pods that wait for builds; restart the kubelet, then the agent',
}
