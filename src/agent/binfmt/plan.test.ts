import { describe, expect, it } from 'vitest'
import { advertise } from './advertise.ts'
import { architectures } from './architectures.ts'
import { matches, patternOf, smallestProgram } from './elf.ts'
import { type Entry, parseEntry, registration } from './entry.ts'
import { handlerNames } from './names.ts'
import { handlerFlags, planHandlers } from './plan.ts'
import { isFirstUserNamespace, pageSize, pageSizeFinding } from './traps.ts'

const arm = architectures.find(({ qemu }) => qemu === 'arm')!
const names = handlerNames('node1', '/var/lib/buildkit')
const interpreter = { architecture: arm, path: '/run/buildkit/emulators/0123/qemu-arm' }
const plan = (entries: readonly Entry[], interpreters = [interpreter]) =>
  planHandlers({ entries, wanted: [arm], interpreters, names, flags: 'PF' })
const own: Entry = {
  ...{ name: 'insitu-arm@node1', enabled: true, interpreter: interpreter.path, flags: 'PF' },
  pattern: patternOf(arm),
}
const host: Entry = { ...own, name: 'qemu-arm', interpreter: '/usr/bin/qemu-arm-static', flags: 'F' }

describe('a handler for each architecture', () => {
  it('is registered where there is none, and then left alone', () => {
    expect(plan([]).register.map(({ name }) => name)).toEqual(['insitu-arm@node1'])
    expect(plan([own])).toMatchObject({ remove: [], register: [] })
    expect(plan([], [])).toMatchObject({ remove: [], register: [] })
  })
  it('is the host’s where it has one, by what it matches and not by its name', () => {
    for (const name of ['qemu-arm', 'anything']) {
      const { remove, register, providers } = plan([{ ...host, name }])
      expect({ remove, register, by: providers.get('arm') }).toEqual({ remove: [], register: [], by: 'host' })
    }
    expect(plan([host, own])).toMatchObject({ remove: ['insitu-arm@node1'], register: [] })
    // Switched off, or for something else: it is none.
    const other = patternOf(architectures.find(({ qemu }) => qemu === 's390x')!)
    for (const no of [
      { ...host, enabled: false },
      { ...host, pattern: other },
    ]) {
      expect(plan([no]).register).toHaveLength(1)
    }
  })
  it('is made anew when the interpreter, its flags, its pattern or its state are not what they should be', () => {
    for (const change of [
      { interpreter: '/old' },
      { flags: 'F' },
      { enabled: false },
      { pattern: { ...own.pattern, offset: 1 } },
    ]) {
      const { remove, register } = plan([{ ...own, ...change }])
      expect([remove, register.map(({ name }) => name)]).toEqual([['insitu-arm@node1'], ['insitu-arm@node1']])
    }
  })
  it('never touches what another agent on the same kernel has', () => {
    const others = { ...own, name: 'insitu-arm@node2', interpreter: '/old' }
    expect(plan([others])).toMatchObject({ remove: [] })
    expect(plan([others]).register).toHaveLength(1)
    expect(handlerNames('node1', '/data').isOwn(names.of('arm'))).toBe(false)
  })
  it('keeps names below what a file’s name holds, and apart', () => {
    const long = 'n'.repeat(253)
    expect(handlerNames(long, '/r').of('loongarch64').length).toBeLessThan(256)
    expect(handlerNames(`${long}a`, '/r').of('arm')).not.toBe(handlerNames(`${long}b`, '/r').of('arm'))
    expect(handlerNames('a:b/c', '/var/lib/buildkit').of('arm')).toBe('insitu-arm@a_b_c')
  })
})

it('patterns recognise their own architecture only, also as a position-independent program', () => {
  for (const one of architectures) {
    for (const other of architectures) {
      expect(matches(patternOf(one), smallestProgram(other))).toBe(one === other)
    }
    const program = smallestProgram(one)
    const type = one.bigEndian ? 17 : 16
    expect(program[type]).toBe(2)
    program[type] = 3
    expect(matches(patternOf(one), program)).toBe(true)
    expect(matches(patternOf(one), program.subarray(0, 10))).toBe(false)
  }
})

it('the kernel’s file of a handler is read as it was written', () => {
  const { name, interpreter: path, flags, pattern } = own
  const { magic, mask } = pattern
  const text = `enabled\ninterpreter ${path}\nflags: PF\noffset 0\nmagic ${magic.toString('hex')}\nmask ${mask.toString('hex')}\n`
  expect(parseEntry(name, text)).toEqual(own)
  expect(parseEntry(name, text.replace('enabled', 'disabled'))?.enabled).toBe(false)
  expect(parseEntry(name, text.replace(/mask .*/, ''))?.pattern.mask).toEqual(Buffer.alloc(20, 0xff))
  expect(parseEntry('jar', 'enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n')).toBeUndefined()
  expect(registration({ name, interpreter: path, flags, pattern })).toMatch(
    /^:insitu-arm@node1:M:0:\\x7f\\x45[\\xa-f0-9]+:\\xff[\\xa-f0-9]+:\/run\/buildkit\/emulators\/0123\/qemu-arm:PF$/,
  )
})

it('flags: P from Linux 5.12 on, C on request only', () => {
  expect(handlerFlags('6.18.44-fc', false)).toBe('PF')
  expect(handlerFlags('5.12.0', false)).toBe('PF')
  expect(handlerFlags('5.10.0-30-amd64', false)).toBe('F')
  expect(handlerFlags('4.19.0', true)).toBe('OCF')
})

it('only what is proved is offered, and what the daemon itself was made for is native', () => {
  const state = {
    emulated: new Map([
      ['arm64', 'host'],
      ['arm', 'insitu'],
    ] as const),
    broken: new Set(['s390x']),
  }
  const listed = ['linux/amd64', 'linux/arm64', 'linux/386', 'linux/arm/v7', 'linux/s390x']
  expect(advertise(listed, state)).toEqual({
    platforms: ['linux/amd64', 'linux/arm64', 'linux/386', 'linux/arm/v7'],
    nativePlatforms: ['linux/amd64', 'linux/386'],
  })
  expect(advertise(['linux/arm64', 'linux/amd64'], state).nativePlatforms).toEqual(['linux/arm64', 'linux/amd64'])
})

describe('traps', () => {
  it('pages that are not 4 KiB', () => {
    const auxv = Buffer.alloc(32)
    auxv.writeBigUInt64LE(6n, 0)
    auxv.writeBigUInt64LE(65_536n, 8)
    expect(pageSize(auxv)).toBe(65_536)
    expect(pageSize(Buffer.alloc(0))).toBeUndefined()
    expect(pageSizeFinding(65_536, ['amd64'])).toMatchObject([
      { code: 'BINFMT_PAGE_SIZE', message: expect.stringContaining('64 KiB') as string },
    ])
    expect(pageSizeFinding(4096, ['amd64'])).toEqual([])
    expect(pageSizeFinding(65_536, [])).toEqual([])
  })
  it('a user namespace of the agent’s own', () => {
    expect(isFirstUserNamespace('         0          0 4294967295\n')).toBe(true)
    expect(isFirstUserNamespace('         0       1000          1\n')).toBe(false)
  })
})
