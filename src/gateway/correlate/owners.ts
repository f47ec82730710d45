import { InsituError } from '../../kernel/errors.ts'
import type { Hold } from './bindings.ts'

/**
 * Who a session belongs to while it, or a build that names it, is there. Its id is the only thing a build needs to use
 * another's session, with the secrets and credentials behind it.
 */
export interface Owners {
  /** @throws InsituError SESSION_FOREIGN (PERMISSION_DENIED) when somebody else has it. */
  claim(id: string, identity: string): Hold<undefined>
}

export function createOwners(): Owners {
  const owners = new Map<string, { readonly identity: string; holds: number }>()
  return {
    claim(id, identity) {
      const entry = owners.get(id) ?? { identity, holds: 0 }
      if (entry.identity !== identity) {
        throw new InsituError('SESSION_FOREIGN', 'the session belongs to somebody else', {
          status: 'PERMISSION_DENIED',
        })
      }
      entry.holds += 1
      owners.set(id, entry)
      let held = true
      return {
        value: undefined,
        release() {
          if (held && --entry.holds === 0) owners.delete(id)
          held = false
        },
      }
    },
  }
}
