import type { Build, BuildSpec, BuildStatus } from '../../src/api/builds/builds.ts'

/** `sha256:aaa…` of one letter, for tests. */
export const sha = (letter: string): string => `sha256:${letter.repeat(64)}`

export interface BuildSketch {
  readonly spec?: Partial<BuildSpec>
  readonly status?: BuildStatus
  /** Seconds after the first. */
  readonly second?: number
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}

/** A Build for tests: `NAME` pushes `r.io/NAME:1`. */
export const sketchBuild = (name: string, sketch: BuildSketch = {}): Build => ({
  metadata: {
    ...{ namespace: 'n', name, uid: `uid-${name}`, labels: sketch.labels ?? {}, annotations: sketch.annotations ?? {} },
    creationTimestamp: `2026-01-01T00:00:0${sketch.second ?? 0}Z`,
  },
  spec: { source: { dockerfile: 'FROM scratch' }, output: { names: [`r.io/${name}:1`], push: true }, ...sketch.spec },
  ...(sketch.status ? { status: sketch.status } : {}),
})

/** One that succeeded with a digest on bases (`NAME → digest`, of images of the registry r.io). */
export const builtOn = (
  name: string,
  digest: string,
  bases: Readonly<Record<string, string>>,
  more: BuildSketch = {},
): Build =>
  sketchBuild(name, {
    ...more,
    status: {
      ...{ phase: 'Succeeded', digest, completionTime: '2026-01-01T00:00:09Z' },
      bases: Object.entries(bases).map(([base, at]) => ({ name: `r.io/${base}:1`, digest: at })),
      ...more.status,
    },
  })
