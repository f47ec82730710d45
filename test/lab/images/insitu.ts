import { InsituError } from '../../../src/kernel/errors.ts'
import type { Progress } from '../progress.ts'

export async function buildInsituImage(_progress: Progress): Promise<{ name: string; tar: string }> {
  await Promise.resolve()
  throw new InsituError('LAB_IMAGE', 'not there yet')
}
