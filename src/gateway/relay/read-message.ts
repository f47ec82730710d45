import { decodedSize, type FieldBudget, fieldBudget } from '../../buildkit/field-budget.ts'
import { readBody, unframe } from '../../kernel/grpc/framing.ts'
import type { Call } from './context.ts'

/**
 * Reads the message of a call that stays open for long. Its objects, which may take a hundred times its bytes, are part of
 * what its identity may have open, until the call is closed.
 * @throws InsituError MESSAGES_LIMIT, and what `readBody` and `decode` throw.
 */
export async function readMessage<T>(
  { stream, messages }: Pick<Call, 'stream' | 'messages'>,
  decode: (message: Uint8Array, budget: FieldBudget) => T,
): Promise<T> {
  const budget = fieldBudget()
  const decoded = decode(unframe(await readBody(stream, messages)), budget)
  if (stream.closed) return decoded
  const size = decodedSize(budget)
  messages.take(size)
  stream.once('close', () => messages.give(size))
  return decoded
}
