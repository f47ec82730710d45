import type { Build, BuildStatus, Recipe } from '../../api/builds/builds.ts'

/** What the controller does next. Each can be done twice without harm: the API server refuses or ignores the second. */
export type Action =
  | {
      readonly kind: 'status'
      readonly build: Build
      readonly status: BuildStatus
      readonly event?: BuildEvent | undefined
    }
  | {
      readonly kind: 'finalizer'
      readonly build: Build
      readonly present: boolean
      readonly event?: BuildEvent | undefined
    }
  | {
      readonly kind: 'createJob'
      readonly build: Build
      readonly recipe: Recipe
      readonly attempt: number
      /** Seconds. */
      readonly deadline: number
    }
  | { readonly kind: 'createCleanJob'; readonly build: Build; readonly recipe: Recipe }
  /** A Job whose pod does not come: the status is written with the reason, which only its events say. */
  | {
      readonly kind: 'explainNoPod'
      readonly build: Build
      readonly job: string
      readonly status: BuildStatus
    }
  /** What a Job's absence means, done only if the API server has none either: the picture of the Jobs may be older. */
  | { readonly kind: 'unlessJob'; readonly build: Build; readonly job: string; readonly otherwise: readonly Action[] }
  | { readonly kind: 'deleteJob'; readonly build: Build; readonly name: string }
  /** A pod that no kubelet ends; `build` may be what is left of one that is gone. */
  | { readonly kind: 'deletePod'; readonly build: Build; readonly name: string; readonly uid: string }
  /** `made` is a Build that belongs to the Build of the action. */
  | { readonly kind: 'createBuild'; readonly build: Build; readonly made: Build }
  /** Takes annotations away. */
  | { readonly kind: 'forget'; readonly build: Build; readonly annotations: readonly string[] }
  | { readonly kind: 'deleteBuild'; readonly build: Build; readonly why: string }

export interface BuildEvent {
  readonly type: 'Normal' | 'Warning'
  readonly reason: string
  readonly message: string
}
