import { spawn } from 'node:child_process'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startDap } from '../fixtures/dap-client.ts'
import { type FrontDoor, openFrontDoor, type Person } from '../fixtures/front-door.ts'
import { toolsBin } from '../fixtures/paths.ts'
import { until } from '../fixtures/until.ts'

// What editors do with `buildx dap`, and `buildx history open`: through the gateway as at a daemon.

let door: FrontDoor
let people: readonly Person[]

beforeAll(async () => {
  door = await openFrontDoor()
  people = [await door.direct(), await door.person('alice')]
})
afterAll(async () => {
  await door?.stop()
})

/** Runs a script at a daemon and then through the gateway; what it sees is the same. */
async function sameOnBoth<T>(script: (person: Person) => Promise<T>): Promise<T> {
  const [direct, through] = people as [Person, Person]
  const expected = await script(direct)
  expect(await script(through)).toEqual(expected)
  return expected
}

const dockerfile = `COPY note /note
RUN echo made-by-the-step > /made
RUN cat /made
`
/** Lines of the Dockerfile: four of the base come first. */
const [second, third] = [6, 7]

async function session(person: Person, breakpoints: readonly number[]) {
  const context = await door.work.context(dockerfile, { note: `for ${person.name}` })
  const file = join(context, 'Dockerfile')
  const client = startDap(['--build-arg=insitu.node=red', '--no-cache'], person.env)
  await client.ask('initialize', { supportsRunInTerminalRequest: true })
  await client.ask('launch', { dockerfile: file, contextPath: context })
  await client.next('initialized')
  const set = await client.ask('setBreakpoints', {
    source: { name: 'Dockerfile', path: file },
    breakpoints: breakpoints.map((line) => ({ line })),
  })
  await client.ask('configurationDone')
  return { client, set: (set['breakpoints'] as unknown[]).length }
}

/** Where the build stands, and what is to be seen there: names only, ids differ. */
async function look(client: ReturnType<typeof startDap>) {
  const stopped = await client.next('stopped')
  const threadId = stopped.body?.['threadId']
  const { stackFrames } = await client.ask('stackTrace', { threadId })
  const [frame] = stackFrames as { id: number; name: string; line: number }[]
  const { scopes } = await client.ask('scopes', { frameId: frame?.id })
  const seen: unknown[] = []
  for (const scope of scopes as { name: string; variablesReference: number }[]) {
    const { variables } = await client.ask('variables', { variablesReference: scope.variablesReference })
    seen.push([scope.name, (variables as { name: string }[]).map(({ name }) => name)])
  }
  return { threadId, frameId: frame?.id, seen: [stopped.body?.['reason'], frame?.line, frame?.name, ...seen] }
}

test('buildx dap: breakpoints, steps, stack, variables and files, to the end of the build', async () => {
  const seen = await sameOnBoth(async (person) => {
    const { client, set } = await session(person, [second])
    try {
      const first = await look(client)
      await client.ask('next', { threadId: first.threadId })
      const next = await look(client)
      await client.ask('continue', { threadId: next.threadId })
      await client.next('terminated')
      const exited = await client.next('exited')
      return [set, first.seen, next.seen, exited.body, await client.ended]
    } finally {
      client.kill()
    }
  })
  expect(JSON.stringify(seen)).toContain('File Explorer')
  expect(seen.at(-1)).toBe(0)
})

test('buildx dap: a shell in the step where the build stands', async () => {
  const found = await sameOnBoth(async (person) => {
    const { client } = await session(person, [third])
    try {
      const { frameId } = await look(client)
      const answer = client.ask('evaluate', { context: 'repl', expression: 'exec', frameId })
      const request = await client.next('runInTerminal')
      const args = request.arguments?.['args'] as string[]
      await answer
      const terminal = spawn('script', ['-qefc', ['buildx', ...args.slice(1)].join(' '), '/dev/null'], {
        stdio: ['pipe', 'pipe', 'pipe'],
        env: { ...process.env, ...person.env, PATH: `${toolsBin}:${process.env['PATH'] ?? ''}` },
      })
      let said = ''
      for (const stream of [terminal.stdout, terminal.stderr]) stream.on('data', (chunk) => (said += String(chunk)))
      try {
        await until('the shell', () => said.includes('Running /bin/sh in build container'))
        await until('an answer of the shell', () => {
          terminal.stdin.write('echo "found: $(cat /made)" $((40 + 2))\n')
          return said.includes('found: made-by-the-step 42')
        })
        return /Running \/bin\/sh in build container from line (\d+)/.exec(said)?.[1]
      } finally {
        terminal.kill('SIGKILL')
      }
    } finally {
      client.kill()
      await client.ended
    }
  })
  expect(found).toBe(String(third))
})

test('buildx history open: hands the address of the record to the browser, and says so where there is none', async () => {
  const tools = await door.work.directory()
  const opened = join(tools, 'opened')
  await writeFile(join(tools, 'xdg-open'), `#!/bin/sh\necho "$1" >> ${opened}\n`)
  await chmod(join(tools, 'xdg-open'), 0o755)
  const context = await door.work.context('RUN echo for-the-record\n')
  const seen = await sameOnBoth(async (person) => {
    const built = await person.buildx(['build', '--progress=plain', '--build-arg=insitu.node=red', context])
    expect(built, built.output).toMatchObject({ exitCode: 0 })
    const list = await person.buildx(['history', 'ls', '--format={{.Ref}}'])
    const ref = list.output.trim().split('\n')[0]?.split('/').at(-1) ?? ''
    const without = await person.buildx(['history', 'open', ref], { env: { PATH: '/nowhere' } })
    const newest = await person.buildx(['history', 'open', ref], { env: { PATH: `${tools}:/bin:/usr/bin` } })
    const wrong = await person.buildx(['history', 'open', 'no-such-build'], { env: { PATH: tools } })
    const address = (await readFile(opened, 'utf8')).trim().split('\n').at(-1)
    expect(address).toBe(`docker-desktop://dashboard/build/door/door0/${ref}`)
    return [without, newest, wrong].map(({ exitCode, output }) => [exitCode, output.replaceAll(ref, 'REF')])
  })
  expect(seen.map(([code]) => code)).toEqual([1, 0, 1])
})
