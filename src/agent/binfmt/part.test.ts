import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { defaultAgentConfig } from '../../api/agent-config.ts'
import { createLogger } from '../../kernel/log.ts'
import type { PartContext } from '../part.ts'
import type { Entry } from './entry.ts'
import type { BinfmtKernel } from './kernel.ts'
import { keepHandlers } from './part.ts'

/** The kernel of a node on which nothing can be proved, since its first read of the new handlers fails. */
async function failing(fault: 'once' | 'always') {
  const root = await mkdtemp(join(tmpdir(), 'insitu-binfmt-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  const interpreters = join(root, 'interpreters')
  await mkdir(interpreters)
  // Both, so that one of them is foreign to whatever runs this test.
  for (const name of ['qemu-aarch64-static', 'qemu-x86_64-static']) await writeFile(join(interpreters, name), 'x')
  const entries = new Map<string, Entry>()
  let closed = 0
  let faults = fault === 'once' ? 1 : Infinity
  const kernel: BinfmtKernel = {
    enabled: () => Promise.resolve(true),
    entries() {
      if (entries.size > 0 && faults-- > 0) return Promise.reject(new Error('input/output error'))
      return Promise.resolve([...entries.values()])
    },
    register: (handler) => Promise.resolve(void entries.set(handler.name, { ...handler, enabled: true })),
    remove: (name) => Promise.resolve(void entries.delete(name)),
    close: () => Promise.resolve(void (closed += 1)),
  }
  const context = {
    ...{ node: 'n1', root, runDirectory: join(root, 'run'), env: {}, changed: () => undefined },
    ...{ log: createLogger({ level: 'silent' }), config: defaultAgentConfig },
  } as unknown as PartContext
  const started = keepHandlers(kernel, { interpreters }, context)
  await expect(started).rejects.toThrow('input/output error')
  return { registered: entries.size, closed, remembered: existsSync(join(root, 'insitu-binfmt')) }
}

it('a start that fails half-way leaves no handler and no mount', async () => {
  expect(await failing('once')).toEqual({ registered: 0, closed: 1, remembered: false })
})

it('handlers that cannot be taken out are remembered for the uninstall, and the mount goes all the same', async () => {
  expect(await failing('always')).toEqual({ registered: 1, closed: 1, remembered: true })
})
