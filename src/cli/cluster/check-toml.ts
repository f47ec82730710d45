import { InsituError } from '../../kernel/errors.ts'

/**
 * Reads a buildkitd.toml as an agent will, so that a mistake is found before it reaches any node.
 * @throws InsituError BUILDKITD_TOML with every mistake on a line of its own.
 */
export async function checkBuildkitdToml(text: string, root: string): Promise<void> {
  const { render } = await import('../../agent/buildkitd/render.ts')
  // What only a node knows is left open: the agent compares those values with its own containerd.
  const address = /^\s*address\s*=\s*"(\/[^"]*)"/m.exec(text)?.[1]
  const snapshotter = /^\s*snapshotter\s*=\s*"([^"]*)"/m.exec(text)?.[1]
  const { findings } = render({
    user: text,
    root,
    socket: '/run/insitu/buildkitd.sock',
    containerdAddress: address ?? '/run/containerd/containerd.sock',
    namespace: 'k8s.io',
    snapshotter: snapshotter ?? 'overlayfs',
  })
  const fatal = findings.filter((finding) => finding.severity === 'fatal')
  if (fatal.length === 0) return
  throw new InsituError('BUILDKITD_TOML', fatal.map((finding) => finding.message).join('\n'), {
    status: 'INVALID_ARGUMENT',
    fix: fatal.find((finding) => finding.fix)?.fix,
  })
}
