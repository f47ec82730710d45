import { agentPaths } from '../../api/agent-api.ts'
import type { PullRequest } from '../../api/images.ts'
import { InsituError } from '../../kernel/errors.ts'
import { type Handler, readJson } from '../front/handlers.ts'
import type { Pulls } from './pulls.ts'

/** `POST /v1/pull`: a gateway brings an image to this node. The answer is lines of JSON until it is here, or is not. */
export const pullHandler = (pulls: Pulls): Handler => ({
  methods: ['POST'],
  path: agentPaths.pull,
  allow: ['gateway'],
  async handle(request, response) {
    const asked = parse(await readJson(request))
    const gone = new AbortController()
    response.once('close', () => gone.abort(new Error('whoever asked for the image is gone')))
    response.writeHead(200, { 'content-type': 'application/jsonl', 'cache-control': 'no-store' })
    await pulls.pull(
      asked,
      (line) => {
        if (!response.destroyed) response.write(`${JSON.stringify(line)}\n`)
      },
      gone.signal,
    )
    response.end()
  },
})

function parse(value: unknown): PullRequest {
  const { image, peers } = (value ?? {}) as Partial<PullRequest>
  if (
    typeof image?.name === 'string' &&
    /^sha256:[0-9a-f]{64}$/.test(image.digest) &&
    Number.isSafeInteger(image.version) &&
    Array.isArray(peers)
  ) {
    return { image, peers }
  }
  throw new InsituError('BODY', 'the request names no image', { status: 'INVALID_ARGUMENT' })
}
