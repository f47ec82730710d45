import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Files in the order of their names: 00-lab ends with the lab up, 90-uninstall comes when nobody needs insitu. */
class ByName extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return Promise.resolve(files.toSorted((a, b) => (a.moduleId < b.moduleId ? -1 : 1)))
  }
}

/**
 * Tests of the machine's only binfmt_misc, of its own network and /run, and of how fast a node frees its disk: a
 * neighbour would change what they see. All others have what they change to themselves (namespaces, ports, directories).
 */
const alone = [
  'test/integration/demo.test.ts',
  'test/integration/disk/budget.test.ts',
  'test/integration/h2spec.test.ts',
  'test/integration/install/clean-node.test.ts',
  'test/integration/local.test.ts',
  'test/integration/platforms/*.test.ts',
]

// unit: pure, seconds, no root. integration: real containerd and buildkitd on this machine. cluster: the lab.
export default defineConfig({
  test: {
    sequence: { sequencer: ByName },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'test/arch/**/*.test.ts', 'test/unit/**/*.test.ts'],
          testTimeout: 30_000,
          expect: { poll: { timeout: 20_000 } },
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          exclude: alone,
          testTimeout: 120_000,
          hookTimeout: 300_000,
          // Most of their time they wait. A group of its own, because other projects have other numbers of workers.
          maxWorkers: 2,
          // Files whose tests only wait have them all wait at the same time.
          maxConcurrency: 8,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'integration-alone',
          include: alone,
          testTimeout: 120_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        // Minutes long, on the lab, and only when somebody asks for it by name.
        test: {
          name: 'by-hand',
          include: ['test/by-hand/**/*.test.ts'],
          testTimeout: 900_000,
          hookTimeout: 900_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'cluster',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 900_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
