import type { Build, BuildCondition, BuildStatus } from '../../api/builds/builds.ts'
import type { ConditionType } from '../../api/builds/status.ts'

type Says = Readonly<
  Partial<
    Record<
      ConditionType,
      { readonly status: 'True' | 'False' | 'Unknown'; readonly reason: string; readonly message?: string | undefined }
    >
  >
>

/** Characters; the schema takes a little more. */
const room = 32_000

/** The status with new conditions. A condition's time changes only when its status does; a message is cut to its room. */
export function withConditions(
  { status = {} }: Build,
  says: Says,
  now: Date,
  fields: Partial<BuildStatus> = {},
): BuildStatus {
  const known = new Map((status.conditions ?? []).map((condition) => [condition.type, condition]))
  for (const [type, { message, ...said }] of Object.entries(says)) {
    const before = known.get(type)
    const lastTransitionTime = before?.status === said.status ? before.lastTransitionTime : timeText(now)
    const condition: BuildCondition = { type, ...said, message: (message ?? '').slice(0, room), lastTransitionTime }
    known.set(type, condition)
  }
  const { message } = fields
  return {
    ...status,
    ...fields,
    ...(message === undefined ? {} : { message: message.slice(0, room) }),
    conditions: [...known.values()],
  }
}

/** Kubernetes' times have whole seconds. */
export const timeText = (time: Date): string => time.toISOString().replace(/\.\d+Z$/, 'Z')

export const sameStatus = (one: BuildStatus | undefined, other: BuildStatus): boolean =>
  JSON.stringify(sorted(one ?? {})) === JSON.stringify(sorted(other))

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([, one]) => one !== undefined)
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([key, one]) => [key, sorted(one)]))
}
