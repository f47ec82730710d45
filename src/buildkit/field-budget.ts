import { InsituError } from '../kernel/errors.ts'

/**
 * Most fields of a message, those of the messages in it counted, or of all operations of a build. A field of two bytes
 * may become an object of about 200, so that a limit in bytes alone would let messages take a hundred times their size.
 * A graph of 100,000 operations has fewer.
 */
const mostFields = 1_000_000

/** How many fields may still be read, of one message or of several that belong together. */
export interface FieldBudget {
  left: number
}

export const fieldBudget = (): FieldBudget => ({ left: mostFields })

/** Bytes, about, of the objects that were made of the fields so far: most have 100 to 200. */
export const decodedSize = (budget: FieldBudget): number => (mostFields - Math.max(0, budget.left)) * 150

/** Counts one field. @throws InsituError MESSAGE_FIELDS (RESOURCE_EXHAUSTED) */
export function countField(budget: FieldBudget): void {
  if (--budget.left >= 0) return
  throw new InsituError('MESSAGE_FIELDS', `the message has more than the ${mostFields} fields that are accepted`, {
    status: 'RESOURCE_EXHAUSTED',
  })
}
