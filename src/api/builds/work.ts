import type { BuildStatus, Recipe } from './builds.ts'

/** Where things are in the pod of a Build. */
export const paths = {
  /** A Work as JSON. */
  work: '/var/run/insitu/work/work.json',
  workspace: '/workspace',
  /** Below it one directory per Secret of the service account, by its name. */
  registries: '/var/run/insitu/registries',
  /** Below it one directory per Secret that the Build names, by its name. */
  secrets: '/var/run/insitu/secrets',
  outcome: '/dev/termination-log',
} as const

/** Annotation of the pod that holds its Work; mounted as a file. */
export const workAnnotation = 'insitu.build/work'
/** Label of Jobs and pods: the UID of the Build. */
export const buildUidLabel = 'insitu.build/build-uid'
/** Label of Jobs and pods: `build` or `clean`. */
export const jobRoleLabel = 'insitu.build/job'
/** On Builds whose directory on a claim has to be removed. */
export const workspaceFinalizer = 'insitu.build/workspace'
/** The container that runs buildctl. */
export const buildContainer = 'build'
/** The container that removes the directory on a claim if the namespace is deleted; nothing of the build is in it. */
export const workspaceContainer = 'insitu-workspace'

/** A Secret with user and password for registries, as the service account says. */
export interface BasicAuth {
  /** Directory below `paths.registries`. */
  readonly secret: string
  /** From the annotations build.knative.dev/docker-N: `https://index.docker.io/v1/`, `gcr.io`. */
  readonly servers: readonly string[]
}

/** What the pod of a Build does: everything but secrets, which it finds in files. */
export interface Work {
  readonly build: { readonly namespace: string; readonly name: string; readonly uid: string }
  readonly recipe: Recipe
  readonly gateway: { readonly host: string; readonly port: number; readonly serverName: string }
  /** CA of the gateway, PEM. */
  readonly ca: string
  readonly basicAuth: readonly BasicAuth[]
  /** Bytes that its outcome may take; undefined: `mostOutcome`. */
  readonly room?: number
  /** It starts while fewer than so many builds run on its node, as a gateway counts. */
  readonly perNode?: number
  /** Secrets of the service account whose annotations the controller may not read. */
  readonly unread?: {
    readonly secrets: readonly string[]
    /** What gives it that right. */
    readonly fix: string
  }
}

/** Bytes that the kubelet keeps of what a container says at its end. */
export const mostOutcome = 4096

/** What the pod says about its end, as its termination message: JSON that begins with `result` and `digest`. */
export interface Outcome {
  /** `infrastructure`: not the fault of what was built; worth another attempt. */
  readonly result: 'succeeded' | 'failed' | 'infrastructure'
  readonly digest?: string | undefined
  readonly names?: readonly string[] | undefined
  readonly node?: string | undefined
  readonly platform?: string | undefined
  readonly commit?: string | undefined
  /** Images that it was built from; undefined: not known. */
  readonly bases?: BuildStatus['bases'] | undefined
  /** Of a failure: the last lines. */
  readonly message?: string | undefined
  /** What was amiss whether or not it failed, for whoever made the Build. */
  readonly note?: string | undefined
}
