import { type Build, buildResources } from '../../api/builds/builds.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { isAlreadyExists } from '../../kernel/k8s/failure.ts'
import type { Endings } from './endings.ts'
import type { Made, Rebuilt } from './execute.ts'
import { buildId, type Image } from './images.ts'
import type { Moved, Step } from './plan.ts'
import { type RebuildOn, successorOf } from './successor.ts'

const { builds } = buildResources

/** Makes the Build that does a step, or finds the one that an earlier run made for it, and waits for its end. */
export async function rebuildOne(
  client: KubernetesClient,
  endings: Endings,
  { image }: Step,
  moved: readonly Moved[],
  made: ReadonlyMap<string, Made>,
): Promise<Rebuilt> {
  const begun = await ensure(client, image, rebuildOn(moved, made))
  const build = buildId(begun)
  const ended = await endings.of(build, begun.metadata?.uid ?? '')
  if (ended === undefined) {
    return { build, digest: undefined, node: undefined, failure: 'its Build was deleted before it ended' }
  }
  const { digest, node } = ended.status ?? {}
  return { build, digest, node, failure: failureOf(ended) ?? otherBase(ended, moved) }
}

/** A base in a registry is named by its digest; one that stays on a node is there, and there it is built on. */
export function rebuildOn(moved: readonly Moved[], made: ReadonlyMap<string, Made>): Omit<RebuildOn, 'attempt'> {
  const stays = (name: string): Made | undefined => {
    const maker = made.get(name)
    return maker && maker.image.recipe.output?.push !== true ? maker : undefined
  }
  const at = [...made.keys()].map((name) => stays(name)?.node).find((node) => node !== undefined)
  return {
    pins: moved.flatMap(({ name, to }) => (to === undefined || stays(name) ? [] : [{ name, digest: to }])),
    released: moved.map(({ name }) => name).filter(stays),
    node: at,
  }
}

/** One that failed before stays as it is, and the next gets a number. */
async function ensure(client: KubernetesClient, image: Image, on: Omit<RebuildOn, 'attempt'>): Promise<Build> {
  for (let attempt = 1; ; attempt++) {
    const body = successorOf(image, { ...on, attempt })
    const { namespace, name } = body.metadata ?? {}
    try {
      return await client.create<Build>(builds, { namespace }, body)
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
      const known = await client.find<Build>(builds, { namespace, name })
      const { phase } = known?.status ?? {}
      if (known !== undefined && phase !== 'Failed' && phase !== 'Cancelled') return known
    }
  }
}

function failureOf({ status = {} }: Build): string | undefined {
  if (status.phase === 'Succeeded') return undefined
  const lines = (status.message ?? '').split('\n').filter((line) => line.trim() !== '')
  const said = lines.findLast((line) => /\berror\b/i.test(line)) ?? lines.at(-1) ?? 'no reason was given'
  return said.length > 300 ? `${said.slice(0, 150)} … ${said.slice(-140)}` : said
}

/** What a registry, a node or a Dockerfile made of the base is what counts. */
function otherBase({ status = {} }: Build, moved: readonly Moved[]): string | undefined {
  const wrong = moved.find(({ name, to }) => {
    const used = status.bases?.filter((base) => base.name === name) ?? []
    return used.length > 0 && !used.some(({ digest }) => digest === to)
  })
  if (wrong === undefined) return undefined
  const used = status.bases?.find(({ name }) => name === wrong.name)?.digest
  return `it was built on ${wrong.name} as ${used}, not as ${wrong.to}`
}
