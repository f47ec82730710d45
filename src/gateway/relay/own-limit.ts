import type { Hints } from '../../buildkit/hints.ts'
import { InsituError } from '../../kernel/errors.ts'

/** `insitu.builds-per-node`: the build starts while fewer than so many build on its node. @throws InsituError HINT */
export function ownLimit({ 'builds-per-node': text }: Hints): number | undefined {
  if (text === undefined) return undefined
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new InsituError('HINT', `insitu.builds-per-node cannot be "${text}"`, {
    status: 'INVALID_ARGUMENT',
    fix: 'say a number from 1',
  })
}
