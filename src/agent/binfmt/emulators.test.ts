import { expect, it } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { architectures } from './architectures.ts'
import { createEmulators } from './emulators.ts'
import { patternOf } from './elf.ts'
import { type Entry, type Handler } from './entry.ts'
import { handlerNames } from './names.ts'
import type { Proof } from './prove.ts'

const arm = architectures.find(({ qemu }) => qemu === 'arm')!
const i386 = architectures.find(({ qemu }) => qemu === 'i386')!

function emulators(proof: () => Proof) {
  const entries = new Map<string, Entry>()
  const state = { enabled: true }
  const asked: string[] = []
  const made = createEmulators({
    kernel: {
      enabled: () => Promise.resolve(state.enabled),
      entries: () => Promise.resolve([...entries.values()]),
      register: (handler: Handler) => Promise.resolve(void entries.set(handler.name, { ...handler, enabled: true })),
      remove: (name) => Promise.resolve(void entries.delete(name)),
      close: () => Promise.resolve(),
    },
    foreign: [arm, i386],
    interpreters(architecture) {
      asked.push(architecture.qemu)
      return Promise.resolve({ architecture, path: `/x/qemu-${architecture.qemu}` })
    },
    names: handlerNames('node1', '/var/lib/buildkit'),
    flags: 'PF',
    prove: () => Promise.resolve(proof()),
    remember: () => Promise.resolve(),
    log: createLogger({ level: 'silent' }),
  })
  return { made, entries, state, asked }
}

it('what the processor runs by itself gets no handler', async () => {
  const { made, entries } = emulators(() => 'runs')
  expect(await made.look()).toEqual({ emulated: new Map(), broken: new Set(), findings: [] })
  expect(entries.size).toBe(0)
})

it('all handlers switched off by an administrator: a finding, and nothing is changed', async () => {
  const { made, entries, state } = emulators(() => ({ reason: 'exec format error' }))
  state.enabled = false
  const { findings } = await made.look()
  expect(findings).toMatchObject([{ code: 'BINFMT_DISABLED', fix: expect.stringContaining('status') as string }])
  expect(entries.size).toBe(0)
})

it('an emulator that fails is taken out once, and not tried again with the same file', async () => {
  let tries = 0
  const { made, entries } = emulators(() => {
    tries++
    return { reason: 'it ended with exit code 1' }
  })
  for (let i = 0; i < 3; i++) {
    const { emulated, broken, findings } = await made.look()
    expect([emulated.size, [...broken].sort(), findings.map(({ code }) => code)]).toEqual([
      0,
      ['386', 'arm'],
      ['EMULATOR_BROKEN', 'EMULATOR_BROKEN'],
    ])
  }
  expect(entries.size).toBe(0)
  // Once natively for each look (386 and arm could be the processor's own), and once through the handler.
  expect(tries).toBe(2 * 3 + 2)
})

it('an emulator is read only when it has to be registered, and once', async () => {
  const proofs: Proof[] = []
  const { made, entries, asked } = emulators(() => proofs.shift() ?? 'runs')
  for (const architecture of [arm, i386]) {
    const pattern = patternOf(architecture)
    const name = `qemu-${architecture.qemu}`
    entries.set(name, { name, enabled: true, interpreter: `/usr/bin/${name}-static`, flags: 'F', pattern })
  }
  expect([...(await made.look()).emulated.values()]).toEqual(['host', 'host'])
  expect(asked).toEqual([])
  entries.delete('qemu-arm')
  // Not by the processor itself, as it would be on many arm64.
  proofs.push({ reason: 'exec format error' })
  for (let i = 0; i < 2; i++) expect((await made.look()).emulated.get('arm')).toBe('insitu')
  expect(asked).toEqual(['arm'])
})
