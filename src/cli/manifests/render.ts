import { toYaml } from '../../kernel/k8s/yaml.ts'
import type { Manifest } from './object.ts'

const head = `# insitu: builds container images inside the containerd of the node that will run them.
# Made by \`insitu install --print\`; the source is src/cli/manifests. Needs Kubernetes 1.30 or later.
`

/** The objects as one file for \`kubectl apply -f\`. */
export const render = (manifests: readonly Manifest[]): string =>
  head +
  manifests
    .map(({ comment, object }) => `---\n${comment === '' ? '' : comment.replace(/^/gm, '# ') + '\n'}${toYaml(object)}`)
    .join('')
