import { agentPaths } from '../../api/agent-api.ts'
import { proxyVariables } from '../../buildkit/proxy.ts'
import { writeFileAtomic } from '../../kernel/fs/atomic.ts'
import { InsituError } from '../../kernel/errors.ts'
import { type Handler, readJson, sendJson } from '../front/handlers.ts'
import type { AgentOptions } from '../options.ts'
import { localRegistries, rememberedFile } from './variables.ts'

/** The proxy variables of the agent's environment, which gateways give to RUN steps. */
export const proxyHandler = (options: Pick<AgentOptions, 'env' | 'readConfig'>): Handler => ({
  methods: ['GET'],
  path: agentPaths.proxy,
  allow: ['gateway'],
  async handle(_, response) {
    const registries = (await localRegistries(options)).join(',')
    const local = registries === '' ? {} : { LOCAL_REGISTRIES: registries }
    sendJson(response, 200, { ...proxyVariables(options.env), ...local })
  },
})

/** Keeps what a gateway says of the cluster's network. */
export const noProxyHandler = (runDirectory: string): Handler => ({
  methods: ['POST'],
  path: agentPaths.noProxy,
  allow: ['gateway'],
  async handle(request, response) {
    const entries = await readJson(request, 1 << 20)
    if (!Array.isArray(entries) || !entries.every((entry) => typeof entry === 'string' && /^[\w.:/*-]+$/.test(entry))) {
      throw new InsituError('NO_PROXY', 'entries for NO_PROXY are a list of names, addresses and ranges', {
        status: 'INVALID_ARGUMENT',
      })
    }
    await writeFileAtomic(rememberedFile(runDirectory), entries.join(','), 0o600)
    sendJson(response, 200, {})
  },
})
