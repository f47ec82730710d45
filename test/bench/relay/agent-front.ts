import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { startFront } from '../../../src/agent/front/front.ts'
import { type Handler, sendJson } from '../../../src/agent/front/handlers.ts'
import { agentPaths } from '../../../src/api/agent-api.ts'
import { spiffe } from '../../../src/api/certificate.ts'
import { namespace, ports, serviceAccounts } from '../../../src/api/names.ts'
import { createLogger } from '../../../src/kernel/log.ts'

/** The agent's mTLS port in a process of its own, in front of a daemon that runs already. */
const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    socket: { type: 'string', default: '' },
    cert: { type: 'string', default: '' },
    key: { type: 'string', default: '' },
    ca: { type: 'string', default: '' },
  },
})
const [cert, key, ca] = await Promise.all([values.cert, values.key, values.ca].map((file) => readFile(file, 'utf8')))
const material = { cert: cert ?? '', key: key ?? '', ca: ca ?? '' }
/** What gateways ask all the time, to notice agents that are gone. */
const answers: Handler = {
  ...{ methods: ['GET'], path: agentPaths.proxy, allow: ['gateway'] },
  handle: (_, response) => sendJson(response, 200, {}),
}
await startFront({
  ...{ host: values.host, port: ports.agent, socket: values.socket },
  tls: { current: () => material, onChange: () => () => {} },
  client: spiffe(namespace, serviceAccounts.gateway),
  handlers: () => [answers],
  log: createLogger({ level: 'error' }),
})
process.stdout.write('listening\n')
