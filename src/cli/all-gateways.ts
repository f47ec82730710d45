import { lookup } from 'node:dns/promises'
import { connectGateways, type Gateways } from '../agent/mirror/gateways.ts'
import { gatewaysService, ports, serviceName } from '../api/names.ts'
import type { Env } from '../kernel/config/env.ts'
import { InsituError } from '../kernel/errors.ts'
import { jsonSession } from '../kernel/grpc/json-session.ts'
import type { Logger } from '../kernel/log.ts'
import type { TlsSource } from '../kernel/tls/material.ts'

/** How an agent asks every gateway of its cluster: each address of the headless service, with the agent's certificate. */
export const allGateways =
  (tls: TlsSource | Promise<TlsSource>, namespace: string, env: Env) =>
  (log: Logger): Gateways => {
    const host = env['INSITU_GATEWAYS_HOST'] ?? `${gatewaysService}.${namespace}.svc`
    let source: TlsSource | undefined
    return connectGateways({
      log,
      async resolve() {
        source = await tls
        return (await lookup(host, { all: true })).map(({ address }) => address)
      },
      connect(address) {
        if (!source) throw new InsituError('NO_CERTIFICATE', 'there is no certificate yet', { status: 'UNAVAILABLE' })
        const serverName = `${serviceName}.${namespace}.svc`
        return jsonSession({ host: address, port: ports.clients, serverName, tls: source.current() })
      },
    })
  }
