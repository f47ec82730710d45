import { expect, test } from 'vitest'
import { UsageError } from '../../kernel/errors.ts'
import { policyCommand } from '../policy.ts'
import { type CheckFlags, checkPolicy } from './check.ts'

/** As the command line gives them. */
function flagsOf(words: readonly string[]): CheckFlags {
  const check = policyCommand().commands.find((c) => c.name() === 'check')
  return check!
    .action(() => undefined)
    .parse(['default', ...words], { from: 'user' })
    .opts()
}

test.for(
  [
    '--name foo/bar',
    '--exporter image',
    '--entitlement network.host',
    '--frontend llb',
    '--platform linux/amd64',
    '--cache-to registry',
    '--cache-from registry',
    '--node n1',
    '--request nowhere.json',
    '--group x',
    '--service-account default',
  ].map((line) => ({ line })),
)('a request of nobody is a wrong command line, and not valid: $line', async ({ line }) => {
  const asked = checkPolicy('default', flagsOf(line.split(' ')))
  await expect(asked).rejects.toThrow('no caller is named')
  await expect(asked).rejects.toBeInstanceOf(UsageError)
})
