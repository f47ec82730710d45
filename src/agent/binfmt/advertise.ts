import type { NodeReport } from '../../api/node-report.ts'
import { architectureOf } from './architectures.ts'
import type { EmulatorState } from './emulators.ts'

/**
 * Which platforms a node offers: those that its daemon lists, without those whose emulator failed its proof; and which of
 * them are native. The first of the list is what the daemon itself was made for.
 */
export function advertise(
  listed: readonly string[],
  { emulated, broken }: Pick<EmulatorState, 'emulated' | 'broken'>,
): Pick<NodeReport, 'platforms' | 'nativePlatforms'> {
  const own = architectureOf(listed[0] ?? '')
  const is = (set: { has(key: string): boolean }, platform: string): boolean =>
    architectureOf(platform) !== own && set.has(architectureOf(platform))
  const platforms = listed.filter((platform) => !is(broken, platform))
  return { platforms, nativePlatforms: platforms.filter((platform) => !is(emulated, platform)) }
}
