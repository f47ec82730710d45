import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

// npm run -s compat: the tests of the front door with the oldest supported clients, and then with the oldest daemons.

const root = join(import.meta.dirname, '../..')
const oldest = join(root, '.tools/oldest')

const run = (file: string, args: readonly string[], env: Readonly<Record<string, string>>): boolean =>
  spawnSync(file, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } }).status === 0

const files = ['test/integration/relay.test.ts', 'test/integration/relay-nodes.test.ts', 'test/integration/front-door']

if (!run('tools/build.sh', ['buildkit-oldest', 'buildx-oldest'], { INSITU_TOOLS: oldest })) {
  process.exitCode = 1
} else {
  for (const [what, env] of [
    ['the oldest clients', { INSITU_TEST_CLIENTS: join(oldest, 'bin') }],
    ['the oldest daemons', { INSITU_TEST_DAEMONS: join(oldest, 'bin') }],
  ] as const) {
    process.stderr.write(`\n${what}:\n`)
    if (!run('npx', ['vitest', 'run', '--project', 'integration', ...files], env)) process.exitCode = 1
  }
}
