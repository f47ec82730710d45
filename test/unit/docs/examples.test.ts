import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { agentConfig } from '../../../src/api/agent-config.ts'
import { clusterGateway, gatewayConfig } from '../../../src/api/config.ts'
import { controllerConfig } from '../../../src/api/controller-config.ts'
import { readHints } from '../../../src/buildkit/hints.ts'
import { manifests } from '../../../src/cli/manifests/manifests.ts'
import { defaultOptions } from '../../../src/cli/manifests/options.ts'
import { parseToml } from '../../../src/kernel/config/toml.ts'
import { files, pages, repository } from './pages.ts'

const blocks = pages.flatMap(({ file, text }) =>
  [...text.matchAll(/^```toml\n([\s\S]*?)^```/gm)].map(([, toml = '']) => ({ file, toml })),
)
const ours = blocks.filter(({ toml }) => /^\[(?:gateway|agent|controller)\b/m.test(toml))

describe('examples of the documentation', () => {
  it('of insitu.toml are found', () => expect(ours.length).toBeGreaterThan(2))

  it.each(ours)('of insitu.toml are read by those they are for ($file)', ({ file, toml }) => {
    const table = parseToml(toml, file)
    expect(() => [gatewayConfig(table, clusterGateway), agentConfig(table), controllerConfig(table)]).not.toThrow()
  })

  it('of Builds are applied by tests on the lab, by their files or by the blocks of the pages that run them', () => {
    const tests = files
      .filter((file) => /^test\/e2e\/[^/]+\.test\.ts$/.test(file))
      .map((file) => readFileSync(join(repository, file), 'utf8'))
    const ran = tests
      .flatMap((text) => [...text.matchAll(/shellBlocks\('([^']+)'\)/g)].map(([, page]) => page))
      .map((page) => pages.find(({ file }) => file === page)?.text.split(/^```sh\n/m)[1] ?? '')
    const examples = files.flatMap((file) => /^config\/examples\/builds\/(.*)$/.exec(file)?.[1] ?? [])
    expect(examples.length).toBeGreaterThan(5)
    const idle = examples.filter(
      (name) =>
        !tests.some((text) => text.includes(`example('${name}')`)) &&
        !ran.some((block) => block.includes(`config/examples/builds/${name}`)),
    )
    expect(idle).toEqual([])
  })

  it('use options of builds that exist', () => {
    const said = pages.flatMap(({ file, text }) =>
      [...text.matchAll(/(?:--opt |--build-arg |,)insitu\.([\w-]+)=([\w/-]+)/g)].map(([, name = '', value = '']) => ({
        file,
        option: { [`insitu.${name}`]: value },
      })),
    )
    expect(said.length).toBeGreaterThan(8)
    for (const { option } of said) expect(() => readHints(option)).not.toThrow()
  })

  it('name objects of the installation that exist', () => {
    const names = new Set(
      manifests({ ...defaultOptions(), mode: 'mixed' }).map(
        ({ object: { kind, metadata } }) => `${kind.toLowerCase()}/${metadata.name}`,
      ),
    )
    const kinds: Readonly<Record<string, string>> = {
      ds: 'daemonset',
      deploy: 'deployment',
      svc: 'service',
      cm: 'configmap',
    }
    const said = pages.flatMap(({ file, shell, spans }) =>
      [...shell, ...spans]
        .filter((line) => /kubectl -n buildkit-system/.test(line))
        .flatMap((line) => [
          ...line.matchAll(/\b(ds|daemonset|deploy|deployment|svc|service|secret)[/ ]([a-z][\w-]+)/g),
        ])
        .map(([, kind = '', name = '']) => ({ file, name: `${kinds[kind] ?? kind}/${name}` })),
    )
    expect(said.length).toBeGreaterThan(6)
    // Made by whoever wants them.
    const optional = ['secret/insitu-proxy', 'secret/generic', 'secret/docker-registry']
    expect(said.filter(({ name }) => !names.has(name) && !optional.includes(name))).toEqual([])
  })
})
