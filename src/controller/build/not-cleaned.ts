import type { Build } from '../../api/builds/builds.ts'
import type { View } from '../view.ts'
import type { BuildEvent } from './actions.ts'
import { cleanJobName } from './names.ts'

/** Nobody waits for a directory that cannot be removed, but somebody has to hear of it. */
export function notCleaned(build: Build, view: View): BuildEvent {
  const pods = view.pods.get(`${build.metadata?.namespace}/${cleanJobName(build)}`) ?? []
  const why = pods.map(({ failed, waiting }) => failed?.message ?? waiting).find((said) => said !== undefined)
  const message = `its directory stays on the claim: ${why ?? 'the pod that should remove it failed'}`
  return { type: 'Warning', reason: 'NotCleaned', message }
}
