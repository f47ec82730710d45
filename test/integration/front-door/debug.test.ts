import { spawn } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type FrontDoor, openFrontDoor, type Person } from '../fixtures/front-door.ts'
import { toolsBin } from '../fixtures/paths.ts'
import { until } from '../fixtures/until.ts'

// Everything of LLBBridge that a debugger needs: containers of a step that failed, processes in them, files of results.

let door: FrontDoor
let alice: Person

beforeAll(async () => {
  door = await openFrontDoor()
  alice = await door.person('alice')
})
afterAll(async () => {
  await door?.stop()
})

/** buildx on a terminal. */
function onTerminal(command: string) {
  const child = spawn('script', ['-qefc', command, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...alice.env, PATH: `${toolsBin}:${process.env['PATH'] ?? ''}`, BUILDX_EXPERIMENTAL: '1' },
  })
  const chunks: string[] = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => chunks.push(chunk.toString()))
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  return {
    type: (text: string) => child.stdin.write(`${text}\n`),
    output: () => chunks.join(''),
    ended,
    kill: () => child.kill('SIGKILL'),
  }
}

test.for(['red', 'blue'])('buildx debug: a shell in the step that failed, on node %s', async (node) => {
  const context = await door.work.context('RUN echo left-by-the-step > /trace && cat /no-such-file\n')
  const terminal = onTerminal(
    `buildx debug --on=error --invoke=/bin/sh build --progress=plain --build-arg=insitu.node=${node} ${context}`,
  )
  try {
    await until('a shell', () => /(# |Launching interactive|Interactive container)/.test(terminal.output()))
    await until('an answer of the shell', () => {
      terminal.type('echo "found: $(cat /trace)" $((40 + 2))')
      // Digests and times of the progress have digits, too.
      return /found: .*42/.test(terminal.output())
    })
    expect(terminal.output()).toContain('found: left-by-the-step 42')
  } finally {
    terminal.kill()
    await terminal.ended
  }
})
