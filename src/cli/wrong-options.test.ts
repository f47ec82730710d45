import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { UsageError } from '../kernel/errors.ts'
import { parseYaml } from '../kernel/k8s/yaml.ts'
import { agentCommand } from './agent.ts'
import { cleanNodeCommand } from './clean-node.ts'
import { createProgram, runCli } from './cli.ts'
import { controllerCommand } from './controller.ts'
import { gatewayCommand } from './gateway.ts'
import { localCommand } from './local.ts'

/** Runs a command line with a kubeconfig that is not there: who asks the cluster first complains about that. */
const run = (line: string): Promise<unknown> =>
  createProgram().parseAsync([...line.split(' '), '--kubeconfig', '/nowhere'], { from: 'user' })

it.each<[string, RegExp]>([
  ['install --timeout 5', /"5" is not a duration/],
  ['install --print --timeout 5x', /"5x" is not a duration/],
  ['install --replicas 0', /--replicas "0"/],
  ['install --toleration a:b', /--toleration "a:b"/],
  ['install --node-selector yes', /--node-selector "yes"/],
  ['install --allow-plaintext everybody', /--allow-plaintext "everybody"/],
  ['install --buildkitd-toml /no/file', /\/no\/file cannot be read/],
  ['install --mode rootless --containerd-root /a/b', /--containerd-root.*rootless/],
  ['install --mode rootless --containerd-state /a/b', /--containerd-state.*rootless/],
  ['install --mode rootless --buildkit-root /a/b', /--buildkit-root.*rootless/],
  ['install --print --mode rootless --buildkit-root /a/b', /--buildkit-root.*rootless/],
  ['uninstall --grace 2d', /"2d" is not a duration/],
  ['uninstall --timeout 5', /"5" is not a duration/],
  ['explain', /nothing to explain/],
  ['explain BADNAME', /"BADNAME" is not an image name: the repository must be in lower case/],
  ['logs app --tail few', /--tail few/],
  ['prune --filter age=1', /--filter "age=1"/],
  ['rebuild --base debian:12 --parallel 0', /--parallel 0/],
])('insitu %s is wrong before a cluster is looked for', async (line, message) => {
  const refused = run(line)
  await expect(refused).rejects.toThrow(message)
  await expect(refused).rejects.toThrow(UsageError)
})

it('--print and --print-kinds are two questions', async () => {
  await expect(run('install --print --print-kinds')).rejects.toMatchObject({ code: 'commander.conflictingOption' })
})

it('what is right gets as far as the kubeconfig', async () => {
  for (const line of ['install', 'uninstall', 'explain app', 'logs app', 'install --mode mixed --buildkit-root /a/b']) {
    await expect(run(line)).rejects.toMatchObject({ code: expect.not.stringMatching('USAGE') as string })
  }
})

/** Runs a command line as the program does. */
async function ending(line: string): Promise<{ code: number; says: string; prints: string }> {
  let [says, prints] = ['', '']
  const err = vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((says += String(text)), true))
  const out = vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((prints += String(text)), true))
  const code = await runCli(line.split(' ')).finally(() => (err.mockRestore(), out.mockRestore()))
  return { code, says, prints }
}

it.each([
  ['policy check', /missing required argument 'file'/],
  ['policy check default --bogus', /unknown option '--bogus'/],
  ['policy check default default', /too many arguments/],
  ['policy check default -o yaml', /Allowed choices are text, json/],
  ['help foo', /unknown command 'foo'/],
  ['help policy foo', /unknown command 'foo'/],
  ['du --socket /nowhere --node n1', /'--socket <path>' cannot be used with option '--node <name>'/],
  ['prune --socket /nowhere --node n1', /'--socket <path>' cannot be used with option '--node <name>'/],
])('insitu %s is a wrong command line, also of a sub-command', async (line, message) => {
  const { code, says } = await ending(line)
  expect({ code, says }).toEqual({ code: 2, says: expect.stringMatching(message) as string })
  expect(says).toContain('(run with --help for the options)')
})

it('insitu install --print checks a buildkitd.toml as an installation does', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-install-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const file = join(directory, 'buildkitd.toml')
  await writeFile(file, '[worker.oci]\nenabled = true\n')
  const { code, says } = await ending(`install --print --buildkitd-toml ${file}`)
  expect({ code, says }).toEqual({ code: 1, says: expect.stringContaining('worker.oci') as string })
})

it('insitu policy check says what no build asks for, and does not refuse it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-policy-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const file = join(directory, 'policy.toml')
  await writeFile(file, '[[tenant]]\nname = "x"\nmatch = { loopback = true }\nexporters = ["imgae"]\n')
  const text = await ending(`policy check ${file}`)
  expect(text).toMatchObject({ code: 0, prints: expect.stringContaining('is valid') as string })
  expect(text.says).toMatch(/^insitu: warning: .*line 4: tenant\.x\.exporters has "imgae"/)
  for (const caller of ['', ' --loopback']) {
    const { code, prints } = await ending(`policy check ${file}${caller} -o json`)
    expect(code).toBe(0)
    expect(JSON.parse(prints)).toMatchObject({ warnings: [expect.stringContaining('"imgae"')] })
  }
  expect(JSON.parse((await ending('policy check default -o json')).prints)).toMatchObject({ warnings: [] })
})

it.each(['--print', '--print-kinds'])(
  'insitu install %s -o json prints the objects of the YAML as a List',
  async (what) => {
    const [yaml, json] = [await ending(`install ${what}`), await ending(`install ${what} -o json`)]
    expect(json.code).toBe(0)
    expect(JSON.parse(json.prints)).toEqual({ apiVersion: 'v1', kind: 'List', items: parseYaml(yaml.prints) })
  },
)

it('insitu policy check -o json says in JSON what is wrong with a file', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-policy-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const file = join(directory, 'policy.toml')
  for (const [text, said] of [
    ['[[tenants]]\n', /^.*line 1: there is no key tenants$/],
    ['[[tenant\n', /policy\.toml/],
  ] as const) {
    await writeFile(file, text)
    const { code, prints, says } = await ending(`policy check ${file} --loopback -o json`)
    expect(code).toBe(1)
    const { fix, ...others } = JSON.parse(prints) as { fix?: string; error: string }
    expect(others).toEqual({ valid: false, error: expect.stringMatching(said) as string })
    expect(says).toContain(fix === undefined ? others.error : `fix: ${fix}`)
    expect(says).toContain(`insitu: ${others.error}`)
    expect((await ending(`policy check ${file} --loopback`)).prints).toBe('')
  }
})

/** Only reads: what these commands do is not for a test. */
const reads = { agent: agentCommand, 'clean-node': cleanNodeCommand }

it('insitu local --root may be given from the working directory', () => {
  for (const [said, root] of [
    ['./x', join(process.cwd(), 'x')],
    ['/data/', '/data'],
  ] as const) {
    const command = localCommand().exitOverride()
    command.parseOptions(['--root', said])
    expect(command.opts()).toMatchObject({ root })
  }
  for (const root of ['/', ''])
    expect(() => localCommand().exitOverride().parseOptions(['--root', root])).toThrow(UsageError)
})

it.each(['agent', 'clean-node'] as const)('insitu %s --root is an absolute path, and not all of them', (name) => {
  const read = (root: string) => reads[name]().exitOverride().parseOptions(['--root', root])
  for (const root of ['relative', '/', '//', '', '/var/../lib', './x']) expect(() => read(root)).toThrow(UsageError)
  for (const root of ['relative', '/']) expect(() => read(root)).toThrow(`--root "${root}" is not`)
  const command = reads[name]().exitOverride()
  command.parseOptions(['--root', '/data/'])
  expect(command.opts()).toMatchObject({ root: '/data' })
})

it.each([localCommand, agentCommand, gatewayCommand, controllerCommand])(
  '--log-level is one that there is: %o',
  (make) => {
    const read = (level: string) =>
      make()
        .exitOverride()
        .configureOutput({ writeErr: () => {} })
        .parseOptions(['--log-level', level])
    expect(() => read('foo')).toThrow(/Allowed choices are trace, debug, info, warn, error/)
    for (const level of ['trace', 'error', 'silent']) expect(() => read(level)).not.toThrow()
  },
)

it('insitu convert names the file that is not YAML', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-convert-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const file = join(directory, 'bad.yaml')
  await writeFile(file, 'a: [\n')
  const { code, says } = await ending(`convert -f ${file}`)
  expect({ code, says }).toEqual({ code: 1, says: expect.stringContaining(`${file} is not YAML: `) as string })
})
