import { join } from 'node:path'
import { writeToml } from '../../kernel/config/toml.ts'
import { ownKeys } from '../buildkitd/known-keys.ts'
import { type Held, mergeConfig } from '../buildkitd/merge.ts'
import type { Rendered } from '../buildkitd/render.ts'

export interface RootlessInput {
  /** The user's buildkitd.toml; undefined: there is none. */
  readonly user: string | undefined
  /** buildkitd's root, a directory of the pod. */
  readonly root: string
  /** Path of the unix socket that buildkitd listens on. */
  readonly socket: string
}

/** What must hold for a daemon without privilege. The reason completes the sentence "cannot be set, because …". */
function mustHold({ root, socket }: RootlessInput): readonly Held[] {
  const oci = ['worker', 'oci']
  return [
    { path: ['root'], value: root, why: 'it is the directory that the pod gives to the daemon' },
    {
      path: ['grpc', 'address'],
      value: [`unix://${socket}`],
      why: 'the agent stands between the daemon and its only client, the gateway',
    },
    { path: ['otel', 'socketPath'], value: join(root, 'otel-grpc.sock'), why: 'the daemon can write only there' },
    { path: ['log', 'format'], value: 'json', why: 'the agent reads the daemon’s log' },
    { path: ['cdi', 'disabled'], value: true, why: 'it would give builds the devices of the node' },
    { path: ['worker', 'containerd', 'enabled'], value: false, why: 'the node’s containerd is not in reach' },
    { path: [...oci, 'enabled'], value: true, why: 'it is the worker that needs nothing of the node' },
    { path: [...oci, 'rootless'], value: true, why: 'the pod has no privilege' },
    {
      path: [...oci, 'noProcessSandbox'],
      value: true,
      why: 'a RUN step with processes of its own needs a /proc that an ordinary pod may not mount',
    },
    {
      path: [...oci, 'networkMode'],
      value: 'host',
      why: 'RUN steps share the network of the pod, which may make none',
    },
  ]
}

/** The same file serves both modes: what it says about the node's containerd is of no matter here. */
const ignored = [['worker', 'containerd'], ['worker', 'oci', 'enabled'], ...ownKeys]

/** The configuration of a rootless daemon. Mistakes are fatal findings, as in `render`. */
export function renderRootless(input: RootlessInput): Rendered {
  const { table, tmpdir, findings } = mergeConfig({ ...input, held: mustHold(input), ignored })
  return { toml: table ? writeToml(table) : '', tmpdir, network: 'pod', bridgeName: '', findings }
}
