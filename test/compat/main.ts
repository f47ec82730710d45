import { spawnSync } from 'node:child_process'
import { join, resolve } from 'node:path'
import { certManager } from './cert-manager.ts'

// npm run -s compat: the tests of the front door with the oldest supported clients, and then with the oldest daemons.
// npm run -s compat -- cert-manager CHECKOUT: insitu with a CA that cert-manager keeps.

const root = join(import.meta.dirname, '../..')
const oldest = join(root, '.tools/oldest')

const run = (file: string, args: readonly string[], env: Readonly<Record<string, string>>): boolean =>
  spawnSync(file, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } }).status === 0

const files = ['test/integration/relay.test.ts', 'test/integration/relay-nodes.test.ts', 'test/integration/front-door']

function clientsAndDaemons(): boolean {
  if (!run('tools/build.sh', ['buildkit-oldest', 'buildx-oldest'], { INSITU_TOOLS: oldest })) return false
  return (
    [
      ['the oldest clients', { INSITU_TEST_CLIENTS: join(oldest, 'bin') }],
      ['the oldest daemons', { INSITU_TEST_DAEMONS: join(oldest, 'bin') }],
    ] as const
  )
    .map(([what, env]) => {
      process.stderr.write(`\n${what}:\n`)
      return run('npx', ['vitest', 'run', '--project', 'integration', ...files], env)
    })
    .every(Boolean)
}

const [what, checkout] = process.argv.slice(2)
if (what === 'cert-manager' && checkout !== undefined) await certManager(resolve(checkout))
else if (what !== undefined) throw new Error('usage: npm run -s compat [-- cert-manager CHECKOUT]')
else if (!clientsAndDaemons()) process.exitCode = 1
