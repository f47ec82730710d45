import type { Command } from 'commander'
import { afterEach, expect, it, vi } from 'vitest'
import { agentCommand } from './agent.ts'
import { doctorCommand } from './doctor.ts'
import { manifests } from './manifests/manifests.ts'
import { defaultOptions, type ManifestOptions } from './manifests/options.ts'

interface Container {
  readonly args: readonly string[]
  readonly env: readonly { readonly name: string; readonly value?: string }[]
}

function agentContainer(options: Partial<ManifestOptions>): Container {
  const set = manifests({ ...defaultOptions(), ...options }).find(({ object }) => object.kind === 'DaemonSet')?.object
  const spec = set?.['spec'] as { template: { spec: { containers: [Container] } } }
  return spec.template.spec.containers[0]
}

/** What a command makes of its arguments and the environment that it has now. */
function parsed(command: Command, args: readonly string[]): Record<string, unknown> {
  command.action(() => {}).parse(args, { from: 'user' })
  const { root, rootless, containerdAddress } = command.opts()
  return { root, rootless, containerdAddress }
}

afterEach(() => vi.unstubAllEnvs())

it.each<[string, Partial<ManifestOptions>]>([
  ['as it is installed by default', {}],
  [
    'with paths of its own',
    { paths: { containerdRoot: '/opt/cd', containerdState: '/opt/cd/run', buildkitRoot: '/data/bk' } },
  ],
  ['without privilege', { mode: 'rootless' }],
])('in the pod of an agent %s it looks where that agent does', (_, options) => {
  const { args, env } = agentContainer(options)
  for (const { name, value } of env) if (value !== undefined) vi.stubEnv(name, value)
  expect(parsed(doctorCommand(), [])).toEqual(parsed(agentCommand(), args.slice(1)))
})

it('what its command line says holds before the environment', () => {
  vi.stubEnv('INSITU_BUILDKIT_ROOT', '/data/bk')
  expect(parsed(doctorCommand(), ['--root', '/else'])).toMatchObject({ root: '/else' })
})
