import { mostOutcome, type Outcome } from '../../api/builds/work.ts'

/** What is left out where there is no room, the first first: names of a build that succeeded are known without it. */
const lessAndLess = [['names', 'platform'], ['bases'], ['note'], ['node'], ['commit']] as const

/**
 * An outcome as JSON of at most so many bytes. A kubelet cuts what is longer at its end: how it ended and what was pushed
 * stand first, the message last.
 */
export function outcomeText(
  { result, digest, message: said = '', ...rest }: Outcome,
  room: number = mostOutcome,
): string {
  let message = said
  let fields: Partial<Outcome> = rest
  const text = (): string => JSON.stringify({ result, digest, ...fields, message: message || undefined })
  const size = (json: string): number => Buffer.byteLength(json)
  // Of a failure the last lines are worth more than all that is known besides.
  const most = message === '' ? room : room / 2
  for (const less of lessAndLess) {
    if (size(JSON.stringify({ result, digest, ...fields })) <= most) break
    fields = { ...fields, ...Object.fromEntries(less.map((field) => [field, undefined])) }
  }
  while (size(text()) > room && message !== '') message = message.slice(Math.ceil(message.length / 10))
  return text()
}
