import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { run } from '../../../src/kernel/process/run.ts'
import { debianClosure } from '../../lab/images/packages.ts'
import { debianUserland } from '../../lab/images/userland.ts'
import { startAgent, type TestAgent } from '../fixtures/agent.ts'
import { startBuildkitd } from '../fixtures/buildkitd.ts'
import { buildctl } from '../fixtures/clients.ts'
import { type Inside, type Output, startNode, type TestNode } from '../fixtures/containerd.ts'

/** What the first of these builds makes, the later ones have from the cache. */
const dockerfile = `FROM scratch AS debian
ADD userland.tar /
FROM debian AS packages
COPY packages /packages
RUN test "$(dpkg --print-architecture)" = armhf && test "$(uname -m)" = armv7l
RUN apt-get -qq install -y --no-install-recommends /packages/*.deb && dpkg -s tcc libc6-dev | grep -c '^Status: install ok installed'
FROM packages AS compiled
COPY *.c /src/
RUN tcc -o /usr/bin/threads /src/threads.c -lpthread && tcc -o /usr/bin/rights /src/rights.c && chmod 4755 /usr/bin/rights
FROM compiled AS run
COPY goroutines /usr/bin/
RUN threads && goroutines
FROM compiled AS scripts
COPY node /
RUN node -e 'const made = require("crypto").createHash("sha256").update(process.arch).digest("hex"); setTimeout(() => console.log("node says", process.arch, JSON.stringify({ made }).length), 10)'
FROM compiled AS rights
ARG TRY
RUN echo "try $TRY" && setpriv --reuid 65534 --regid 65534 --clear-groups rights
`

const threads = `#include <pthread.h>
#include <stdio.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int sum;
static void *add(void *value) {
  for (int i = 0; i < 1000; i++) { pthread_mutex_lock(&lock); sum += *(int *)value; pthread_mutex_unlock(&lock); }
  return 0;
}
int main(void) {
  pthread_t all[4];
  int values[4] = {1, 2, 3, 4};
  for (int i = 0; i < 4; i++) if (pthread_create(&all[i], 0, add, &values[i])) return 1;
  for (int i = 0; i < 4; i++) pthread_join(all[i], 0);
  printf("threads counted %d in %d bits\\n", sum, (int)sizeof(void *) * 8);
  return sum != 10000;
}
`
const rights = `#include <stdio.h>
#include <unistd.h>
int main(void) { printf("rights %d %d\\n", (int)getuid(), (int)geteuid()); return 0; }
`
const goroutines = `package main

import "runtime"

func main() {
	parts := make(chan int)
	for i := 1; i <= 4; i++ {
		go func() { parts <- i * 1000 }()
	}
	sum := 0
	for i := 0; i < 4; i++ {
		sum += <-parts
	}
	println("goroutines counted", sum, runtime.GOARCH)
}
`

let node: TestNode
let pod: Inside
let agent: TestAgent | undefined
let context: string

beforeAll(async () => {
  const [userland, packages, scripts] = await Promise.all([
    debianUserland('armhf'),
    debianClosure('armhf', ['tcc', 'libc6-dev']),
    debianClosure('armhf', ['nodejs']),
  ])
  node = await startNode()
  pod = await node.pod()
  context = join(node.directory, 'context')
  await mkdir(join(context, 'packages'), { recursive: true })
  await run('cp', [userland, join(context, 'userland.tar')])
  for (const file of packages) await run('cp', [file, join(context, 'packages', basename(file))])
  await unpackNode(scripts)
  await writeFile(join(context, 'threads.c'), threads)
  await writeFile(join(context, 'rights.c'), rights)
  await writeFile(join(context, 'main.go'), goroutines)
  await writeFile(join(context, 'Dockerfile'), dockerfile)
  const env = { CGO_ENABLED: '0', GOOS: 'linux', GOARCH: 'arm', GOARM: '7', GO111MODULE: 'off' }
  await run('go', ['build', '-o', 'goroutines', 'main.go'], { cwd: context, env, timeout: 300_000 })
}, 600_000)

afterAll(async () => {
  await agent?.stop()
  await node?.stop()
})

/** Unpacked here: dpkg is emulated for the other packages, and these are large. */
async function unpackNode(packages: readonly string[]): Promise<void> {
  const directory = join(context, 'node')
  for (const file of packages) {
    // The C library and the like are in the userland; its /lib is a link, which these would replace.
    if (!/^(libc6|libgcc-s1|gcc-12-base|libcrypt1|zlib1g)_/.test(basename(file)))
      await run('dpkg-deb', ['-x', file, directory])
  }
  await rm(join(directory, 'usr/share/doc'), { recursive: true, force: true })
  expect((await readdir(directory)).filter((name) => !['etc', 'usr', 'var'].includes(name))).toEqual([])
}

const start = async (...args: string[]): Promise<TestAgent> => {
  const started = startAgent(node, pod, { args: ['--emulators', '/usr/bin', ...args] })
  agent = started
  await started.ready()
  return started
}

const build = (on: TestAgent, target: string, ...more: string[]): Promise<Output> =>
  on.buildctl([
    ...['build', '--progress', 'plain', '--frontend', 'dockerfile.v0', '--local', `context=${context}`],
    ...['--local', `dockerfile=${context}`, '--opt', 'platform=linux/arm/v7', '--opt', `target=${target}`, ...more],
  ])

it('a Debian for armhf builds as on its own machine: apt and dpkg, a compiler, threads, Go', async () => {
  const started = await start()
  const workers = await started.buildctl(['debug', 'workers'])
  expect(workers.stdout).toMatch(/linux\/arm\/v7,linux\/arm\/v6/)
  expect(workers.stdout).toMatch(/linux\/riscv64.*linux\/ppc64le.*linux\/s390x.*linux\/mips64le.*linux\/loong64/)
  const { code, stderr } = await build(started, 'run')
  expect(code, stderr).toBe(0)
  expect(stderr).toContain('Setting up tcc')
  expect(stderr).toContain('Processing triggers for libc-bin')
  expect(stderr).toContain('threads counted 10000 in 32 bits')
  expect(stderr).toContain('goroutines counted 10000 arm')
}, 600_000)

it('Node runs there too, with its compiler and its event loop', async () => {
  if (!agent) throw new Error('the agent runs')
  const { code, stderr } = await build(agent, 'scripts')
  expect(code, stderr).toBe(0)
  expect(stderr).toContain('node says arm 75')
}, 600_000)

it('without a handler it is broken: what the daemon emulates by itself starts nothing in turn', async () => {
  const daemon = await startBuildkitd({ emulatesItself: true })
  try {
    const arm = ['--opt=platform=linux/arm/v7', '--opt=target=packages']
    const { exitCode, output } = await buildctl(daemon.address, context, arm).ended
    expect(exitCode).not.toBe(0)
    // The first program runs, and is the shell.
    expect(output).toMatch(/\/bin\/sh: 1: dpkg: Exec format error/)
  } finally {
    await daemon.stop()
  }
}, 600_000)

it('setuid programs run with the rights of their caller, and with their own where insitu.toml wants it', async () => {
  if (!agent) throw new Error('the agent runs')
  const caller = await build(agent, 'rights', '--opt', 'build-arg:TRY=1')
  expect(caller.stderr).toMatch(/rights 65534 65534/)
  expect(await agent.stop()).toBe(0)
  const file = join(node.directory, 'insitu.toml')
  await writeFile(file, '[agent.disk]\nfollowKubelet = false\n[agent.emulators]\ncredentials = true\n')
  const own = await build(await start('--insitu-config', file), 'rights', '--opt', 'build-arg:TRY=2')
  expect(own.stderr).toMatch(/rights 65534 0/)
  expect([caller.code, own.code]).toEqual([0, 0])
}, 600_000)
