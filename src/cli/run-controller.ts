import { hostname } from 'node:os'
import { controllerConfig } from '../api/controller-config.ts'
import { createController } from '../controller/controller.ts'
import { processEnv } from '../kernel/config/env.ts'
import { parseToml } from '../kernel/config/toml.ts'
import { InsituError } from '../kernel/errors.ts'
import { readOptional } from '../kernel/fs/read-optional.ts'
import { createKubernetesClient } from '../kernel/k8s/client.ts'
import { createLogger } from '../kernel/log.ts'
import { serveProbes } from '../kernel/probes.ts'
import { aborted, terminationSignal } from '../kernel/process/termination.ts'

export interface RunControllerOptions {
  readonly image: string
  readonly namespace: string
  /** insitu.toml; it need not be there. */
  readonly config: string
  readonly probes: number
  readonly logLevel: string
}

/** Runs a controller until it is told to stop. Builds that run go on without it. */
export async function runController(options: RunControllerOptions): Promise<void> {
  const signal = terminationSignal()
  const logger = createLogger({ level: options.logLevel, bindings: { role: 'controller' } })
  const client = await createKubernetesClient({ userAgent: 'insitu-controller' })
  const { image, namespace } = options
  const config = controllerConfig(parseToml((await readOptional(options.config)) ?? '', 'insitu.toml'))
  const limits = { perNamespace: config.buildsPerNamespace, perNode: config.buildsPerNode }
  const identity = processEnv()['POD_NAME'] ?? `${hostname()}-${process.pid}`
  const controller = createController({ client, namespace, identity, image, limits, logger })
  const probes = await serveProbes({
    port: options.probes,
    notReady: () => controller.notReady(),
    metrics: () => `# TYPE insitu_controller_leads gauge\ninsitu_controller_leads ${controller.leads() ? 1 : 0}\n`,
  })
  logger.info({ identity, image, ...limits }, 'watching')
  try {
    const error = await Promise.race([aborted(signal), controller.failed])
    if (error !== undefined) throw new InsituError('CONTROLLER_FAILED', 'the controller failed', { cause: error })
  } finally {
    await controller.stop()
    await probes.close()
    client.close()
  }
}
