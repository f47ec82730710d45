import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Recipe } from '../../../src/api/builds/builds.ts'
import type { BasicAuth, Outcome, Work } from '../../../src/api/builds/work.ts'
import { tokenAudience } from '../../../src/api/names.ts'
import { type Client, startClient } from '../fixtures/clients.ts'
import { createWorkspace } from '../fixtures/context.ts'
import type { TestGatewayOptions } from '../fixtures/gateway.ts'
import { toolsBin } from '../fixtures/paths.ts'
import { startCertifiedGateway } from '../install/certified-gateway.ts'
import { namespace, startInstalled } from '../install/installed.ts'

const program = fileURLToPath(new URL('../../../bin/insitu', import.meta.url))

export interface Ran {
  readonly outcome: Outcome
  readonly output: string
  readonly exitCode: number | null
  /** Everything of the run that anybody but its pod could see. */
  readonly seen: string
}

type Files = Readonly<Record<string, Readonly<Record<string, string>>>>

/** What a pod has besides its recipe. */
export interface PodInputs {
  /** Secrets that the recipe names: name → key → text. */
  readonly secrets?: Files
  /** Secrets of the service account. */
  readonly registries?: Files
  readonly basicAuth?: readonly BasicAuth[]
  /** Files of the workspace by path. */
  readonly workspace?: Readonly<Record<string, string | Buffer>>
}

/**
 * A real API server, gateway and daemon for what runs in the pods of Builds, with the program of those pods.
 * @param clientLifetime milliseconds of their certificates.
 */
export async function startBuildPods(config: TestGatewayOptions['config'] = {}, clientLifetime?: number) {
  const [installed, space] = await Promise.all([startInstalled(), createWorkspace()])
  const door = await startCertifiedGateway(installed, {
    config,
    ...(clientLifetime === undefined ? {} : { clientLifetime }),
  })
  const { gateway, identity, daemon } = door
  await door.accounts('builder')
  const pod = await installed.pod('build-1', 'builder', 'node-1', 'default')

  /** Does what the pod of a Build does. */
  async function begin(recipe: Recipe, inputs: PodInputs = {}): Promise<{ client: Client; ended: Promise<Ran> }> {
    const directory = await space.directory()
    const at = (name: string): string => join(directory, name)
    const put = async (path: string, text: string | Buffer): Promise<void> => {
      await mkdir(join(at(path), '..'), { recursive: true })
      await writeFile(at(path), text)
    }
    for (const [place, all] of Object.entries({ secrets: inputs.secrets, registries: inputs.registries })) {
      for (const [name, keys] of Object.entries(all ?? {})) {
        for (const [key, value] of Object.entries(keys)) await put(`${place}/${name}/${key}`, value)
      }
    }
    for (const [path, text] of Object.entries(inputs.workspace ?? {})) await put(`workspace/${path}`, text)
    const work: Work = {
      build: { namespace: 'default', name: 'b', uid: 'u' },
      recipe,
      gateway: { host: '127.0.0.1', port: gateway.port, serverName: `buildkitd.${namespace}.svc` },
      ca: identity.tls.current().ca,
      basicAuth: inputs.basicAuth ?? [],
    }
    await put('work.json', JSON.stringify(work))
    await put('token', await pod.token(tokenAudience))
    const args = [
      ...['run-build', '--work', at('work.json'), '--token-file', at('token'), '--outcome', at('outcome')],
      ...['--directory', at('run'), '--registries', at('registries'), '--secrets', at('secrets')],
      ...['--workspace', at('workspace')],
    ]
    const before = gateway.log().length
    const running = startClient(program, args, { env: { PATH: `${toolsBin}:${process.env['PATH'] ?? ''}` } })
    const ended = async (): Promise<Ran> => {
      const { output, exitCode } = await running.ended
      const text = await readFile(at('outcome'), 'utf8')
      const seen = `${output}${text}${gateway.log().slice(before)}`
      return { outcome: JSON.parse(text) as Outcome, output, exitCode, seen }
    }
    return { client: running, ended: ended() }
  }

  return {
    daemon,
    begin,
    run: async (recipe: Recipe, inputs?: PodInputs): Promise<Ran> => (await begin(recipe, inputs)).ended,
    async stop(): Promise<void> {
      await door.stop()
      installed.admin.close()
      await Promise.all([installed.server.close(), space.remove()])
    },
  }
}

export type BuildPods = Awaited<ReturnType<typeof startBuildPods>>
