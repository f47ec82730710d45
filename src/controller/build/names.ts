import type { Build } from '../../api/builds/builds.ts'

/**
 * The name of a Job follows from the Build and the attempt alone: a controller that died after it made the Job, and
 * the one after it, make the same one again, and the API server refuses the second.
 */
export const jobName = (build: Build, attempt: number): string => `${stem(build)}-${attempt}`

export const cleanJobName = (build: Build): string => `${stem(build)}-clean`

/** The directory of a Build on its claim. */
export const workspaceDirectory = (build: Build, said: string | undefined): string => said ?? stem(build)

/** Names of Jobs become labels, which have 63 characters. */
const stem = ({ metadata }: Build): string =>
  `${(metadata?.name ?? '').slice(0, 44).replace(/[^a-z0-9]+$/, '')}-${(metadata?.uid ?? '').replaceAll('-', '').slice(0, 10)}`
