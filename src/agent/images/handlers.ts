import { agentPaths } from '../../api/agent-api.ts'
import type { BuiltAnswer, BuiltImage, ImageInventory, ProtectedAnswer } from '../../api/images.ts'
import { normalizeReference } from '../../buildkit/reference.ts'
import { InsituError } from '../../kernel/errors.ts'
import { type Handler, readJson, sendJson } from '../front/handlers.ts'
import type { BuiltImages } from './built-images.ts'
import { parseSharedIndex } from './shared-index.ts'

/** What gateways ask and tell about images. Contracts: src/api/images.ts. */
export function imageHandlers(node: string, images: BuiltImages): readonly Handler[] {
  return [
    {
      ...{ methods: ['GET'], path: agentPaths.images, allow: ['gateway'] },
      handle: (_, response) => {
        const inventory: ImageInventory = {
          ...{ node, revision: images.revision(), images: images.list() },
          ordinary: images.ordinary?.(),
        }
        sendJson(response, 200, inventory)
      },
    },
    {
      ...{ methods: ['POST'], path: agentPaths.built, allow: ['gateway'] },
      async handle(request, response) {
        const body = await readJson(request)
        const index = parseSharedIndex(isObject(body) ? body['index'] : undefined)
        const ref = isObject(body) && typeof body['ref'] === 'string' ? body['ref'] : undefined
        const answer: BuiltAnswer = await images.built(imagesOf(body), index, ref)
        sendJson(response, 200, answer)
      },
    },
    {
      ...{ methods: ['POST'], path: agentPaths.drop, allow: ['gateway'] },
      async handle(request, response) {
        sendJson(response, 200, { dropped: await images.drop(imagesOf(await readJson(request))) })
      },
    },
    {
      ...{ methods: ['POST'], path: agentPaths.retract, allow: ['gateway'] },
      async handle(request, response) {
        const body = await readJson(request)
        const age = isObject(body) ? body['age'] : undefined
        if (typeof age !== 'number' || !(age >= 0)) throw malformed('age')
        sendJson(response, 200, { retracted: await images.retract({ names: namesOf(body), age }) })
      },
    },
    {
      ...{ methods: ['POST'], path: agentPaths.wanted, allow: ['gateway'] },
      async handle(request, response) {
        await images.wanted(namesOf(await readJson(request)))
        sendJson(response, 200, {})
      },
    },
    {
      ...{ methods: ['GET'], path: agentPaths.protected, allow: ['gateway'] },
      handle: (_, response, { url }) => {
        const names = url.searchParams.getAll('name').map(normalizeReference)
        const answer: ProtectedAnswer = { protected: names.filter((name) => images.isProtected(name)) }
        sendJson(response, 200, answer)
      },
    },
  ]
}

function namesOf(body: unknown): string[] {
  const names = isObject(body) ? body['names'] : undefined
  if (!Array.isArray(names) || !names.every((name) => typeof name === 'string')) throw malformed('names')
  return names
}

function imagesOf(body: unknown): BuiltImage[] {
  const list = isObject(body) ? body['images'] : undefined
  if (!Array.isArray(list)) throw malformed('images')
  return list.map((entry: unknown) => {
    const { name, digest, version } = isObject(entry) ? entry : {}
    if (typeof name !== 'string' || typeof digest !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(digest)) {
      throw malformed('images')
    }
    if (typeof version !== 'number' || !Number.isSafeInteger(version)) throw malformed('images')
    return { name: normalizeReference(name), digest, version }
  })
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

const malformed = (field: string): InsituError =>
  new InsituError('BODY', `the request has no proper "${field}"`, { status: 'INVALID_ARGUMENT' })
