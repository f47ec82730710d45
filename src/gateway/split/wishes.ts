import type { Hints } from '../../buildkit/hints.ts'
import { normalizePlatform } from '../../buildkit/platform.ts'
import { InsituError } from '../../kernel/errors.ts'

/** What a client asks for about platforms. */
export interface PlatformWishes {
  /** As nodes list theirs, each once, in the client's order. Empty: that of whatever node builds. */
  readonly platforms: readonly string[]
  /** Nothing may be emulated. */
  readonly nativeOnly: boolean
}

/** @throws InsituError PLATFORM, HINT (INVALID_ARGUMENT) */
export function readPlatforms(platforms: readonly string[], { emulate }: Pick<Hints, 'emulate'>): PlatformWishes {
  if (emulate !== undefined && emulate !== 'never' && emulate !== 'auto') {
    throw new InsituError('HINT', `insitu.emulate cannot be "${emulate}"`, {
      status: 'INVALID_ARGUMENT',
      fix: 'use never, or auto for a native node where there is one',
    })
  }
  const known = platforms.flatMap((platform) => normalizePlatform(platform) ?? [])
  return { platforms: [...new Set(known)], nativeOnly: emulate === 'never' }
}
