import type { Measurement } from './report.ts'

/** What the published figures compare Spegel with. */
export const spegelBaseline = 'registry alone'

interface Published {
  readonly mb: number
  readonly what: string
  /** Seconds of each node's pull, as the kubelet's events say them. */
  readonly baseline: readonly number[]
  readonly spegel: readonly number[]
}

/**
 * Measured by Spegel's authors, not here: v0.3.0 on ten nodes of AKS 1.33 (Standard_D8ds_v5, 8 processors each), images
 * of four layers, the pull alone without build or push. Source: results/baseline.json and results/spegel-v030.json of
 * https://github.com/spegel-org/benchmark-results at 645a85c, of 2025-06-13, rounded to hundredths.
 */
const published: readonly Published[] = [
  {
    mb: 10,
    what: 'ten pods at once',
    baseline: [1.64, 1.64, 1.64, 1.66, 1.66, 1.66, 1.67, 1.68, 1.69, 1.86],
    spegel: [1.69, 1.71, 1.71, 1.71, 1.73, 1.73, 1.73, 1.73, 1.76, 1.76],
  },
  {
    mb: 10,
    what: 'two pods at a time',
    baseline: [1.26, 1.31, 1.31, 1.34, 1.4, 1.46, 1.49, 1.53, 1.53, 1.68],
    spegel: [0.07, 0.07, 0.07, 0.08, 0.08, 0.08, 0.08, 0.11, 1.71, 1.73],
  },
  {
    mb: 100,
    what: 'ten pods at once',
    baseline: [3.06, 3.07, 3.08, 3.1, 3.1, 3.11, 3.12, 3.12, 3.13, 3.17],
    spegel: [2.71, 3.0, 3.0, 3.02, 3.02, 3.03, 3.03, 3.04, 3.06, 3.06],
  },
  {
    mb: 100,
    what: 'two pods at a time',
    baseline: [1.45, 1.47, 1.48, 1.48, 1.54, 1.6, 1.67, 1.72, 4.04, 4.59],
    spegel: [0.32, 0.32, 0.32, 0.32, 0.33, 0.33, 0.34, 0.34, 2.51, 2.76],
  },
  {
    mb: 1000,
    what: 'ten pods at once',
    baseline: [12.41, 12.41, 12.43, 12.43, 12.44, 12.45, 12.45, 12.47, 12.47, 12.47],
    spegel: [12.21, 12.23, 12.23, 12.23, 12.23, 12.24, 12.24, 12.25, 12.25, 12.28],
  },
  {
    mb: 1000,
    what: 'two pods at a time',
    baseline: [3.96, 4.4, 4.49, 4.56, 4.68, 4.74, 4.8, 4.88, 11.73, 12.44],
    spegel: [3.22, 3.26, 3.26, 3.27, 3.29, 3.29, 3.3, 3.39, 13.14, 13.32],
  },
]

/** Lines to read beside those of one size; `mb` in 10^6 bytes. None for a size that has no published figures. */
export function spegelLines(mb: number): Measurement[] {
  return published
    .filter((line) => line.mb === mb)
    .flatMap(({ what, baseline, spegel }) => {
      const name = `Spegel as published, ${mb} MB, pull alone, ${what}`
      return [
        { case: name, subject: spegelBaseline, unit: 's', values: baseline },
        { case: name, subject: 'Spegel 0.3.0', unit: 's', values: spegel },
      ]
    })
}
