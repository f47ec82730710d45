import { type Caller, identityOf } from '../listener/caller.ts'
import type { RelayContext } from '../relay/context.ts'

/** What of others somebody who asks about builds may see. */
export interface Viewer {
  /** As `recordAttributes.owner` says it in records of builds. */
  readonly owner: string
  /** Administrators see and change everything. */
  readonly all: boolean
}

export const viewerOf = (context: Pick<RelayContext, 'admission'>, caller: Caller): Viewer => ({
  owner: identityOf(caller),
  all: context.admission.administrator(caller),
})

export const maySee = (viewer: Viewer, owner: string | undefined): boolean => viewer.all || viewer.owner === owner
