import { fieldOf, integer, messages, stringMap } from '../../../kernel/grpc/wire.ts'
import type { ContainerdCall } from '../../host/containerd-call.ts'
import type { Descriptor } from '../manifest.ts'

/** Content that this node has pulled itself, by the repository that it came from. */
export interface LabelledContent {
  descriptor(repository: string, digest: string): Promise<Descriptor | undefined>
}

/** containerd writes down where it got content: core/remotes/docker/handler.go, `AppendDistributionSourceLabel`. */
const source = 'containerd.io/distribution.source.'

export const labelledContent = (call: ContainerdCall): LabelledContent => ({
  async descriptor(repository, digest) {
    const slash = repository.indexOf('/')
    const info = await call('content.v1.Content/Info', fieldOf(1, digest)).catch(() => undefined)
    const [found] = info ? messages(info, 1) : []
    if (!found) return undefined
    const label = stringMap(found, 5)[`${source}${repository.slice(0, slash)}`]
    if (!label?.split(',').includes(repository.slice(slash + 1))) return undefined
    return { mediaType: 'application/octet-stream', digest, size: integer(found, 2) }
  },
})
