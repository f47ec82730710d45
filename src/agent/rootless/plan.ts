import type { Finding } from '../../api/node-report.ts'
import type { AgentOptions } from '../options.ts'
import type { Preflight } from '../host/preflight.ts'
import type { Rendered } from '../buildkitd/render.ts'
import { lookAtSpace } from '../host/space.ts'
import { explainLimits } from './explain.ts'
import { readLimits } from './limits.ts'
import { renderRootless } from './render.ts'

/** Said as long as the mode lasts: a build that is refused for it can be understood from the report. */
const info: Finding = {
  code: 'ROOTLESS',
  severity: 'info',
  message: 'buildkitd runs without privilege and with a store of its own: images cannot stay on this node',
  fix: 'push images, or send them to the client; docs/rootless.md',
}

export interface RootlessPlan {
  /** Of the host nothing is seen. */
  readonly host: Preflight
  readonly rendered: Rendered
  readonly config: string | undefined
  readonly findings: readonly Finding[]
}

/** Looks at what pod and kernel allow and renders the configuration. Changes nothing. */
export async function makeRootlessPlan(
  options: AgentOptions,
  { root, socket }: { readonly root: string; readonly socket: string },
): Promise<RootlessPlan> {
  const limits = await readLimits({ env: options.env, buildkitd: options.buildkitd ?? 'buildkitd', root })
  const config = await options.readConfig?.()
  const rendered = renderRootless({ user: config, root, socket })
  return {
    host: {
      distribution: { name: 'unknown', address: '', root: '', state: '', certsDir: '' },
      containerd: undefined,
      containerdPid: undefined,
      snapshotter: undefined,
      findings: [],
    },
    rendered,
    config,
    findings: [info, ...explainLimits(limits), ...(await lookAtSpace([root])), ...rendered.findings],
  }
}
