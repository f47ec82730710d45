import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'

/** When a controller dies: with this write, before the server has seen it, or before the answer has come. */
export interface Death {
  /** From 1. Leases and events do not count. */
  readonly write: number
  readonly moment: 'before' | 'after'
}

/** A client that does nothing any more once it has died. */
export function mortal(client: KubernetesClient, { write, moment }: Death, die: () => void): KubernetesClient {
  let writes = 0
  let dead = false
  const deadly = <A extends readonly unknown[], R>(call: (...args: A) => Promise<R>) => {
    return async (...args: A): Promise<R> => {
      const [resource] = args as unknown as readonly [{ readonly plural: string }]
      if (dead) throw new Error('this controller is dead')
      if (resource.plural === 'leases' || resource.plural === 'events') return call(...args)
      writes += 1
      const now = writes === write
      if (now && moment === 'before') {
        dead = true
        die()
        throw new Error('it died')
      }
      const result = await call(...args)
      if (!now) return result
      dead = true
      die()
      throw new Error('it died')
    }
  }
  return {
    ...client,
    create: deadly(client.create.bind(client)) as KubernetesClient['create'],
    replace: deadly(client.replace.bind(client)),
    patch: deadly(client.patch.bind(client)) as KubernetesClient['patch'],
    delete: deadly(client.delete.bind(client)),
  }
}
