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

/** The same objects for programs. kubectl applies a List, too. */
export const renderJson = (manifests: readonly Manifest[]): string =>
  JSON.stringify({ apiVersion: 'v1', kind: 'List', items: manifests.map(({ object }) => object) }, null, 2)
