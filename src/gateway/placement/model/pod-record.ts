import type { NodeSlot, Owner, PodFacts, Profile, WaitingContainer, WorkloadFacts } from '../facts.ts'
import { addressKey, addressOf, type AddressKey } from './addresses.ts'

type Own = Pick<
  PodFacts,
  'name' | 'slot' | 'created' | 'ip' | 'secondIp' | 'waiting' | 'rolling' | 'profile' | 'homeless'
>

/** A pod in as few bytes as it takes: there are 150,000. What it shares with others is read from its profile. */
export class PodRecord implements PodFacts {
  readonly name: string
  readonly slot: NodeSlot | undefined
  readonly profile: Profile
  readonly waiting: readonly WaitingContainer[]
  readonly rolling: readonly string[]
  readonly secondIp: string | undefined
  readonly homeless: WorkloadFacts | undefined
  /** Whole seconds, as Kubernetes counts: those fit without a box of their own. */
  readonly #seconds: number
  readonly #address: AddressKey | undefined

  constructor(own: Own) {
    this.name = own.name
    this.slot = own.slot
    this.profile = own.profile
    this.waiting = own.waiting
    this.rolling = own.rolling
    this.secondIp = own.secondIp
    this.homeless = own.homeless
    this.#seconds = Math.floor(own.created / 1000)
    this.#address = own.ip === undefined ? undefined : addressKey(own.ip)
  }

  get namespace(): string {
    return this.profile.namespace
  }

  get node(): string | undefined {
    return this.slot?.name
  }

  get created(): number {
    return this.#seconds * 1000
  }

  get owner(): Owner | undefined {
    return this.profile.owner
  }

  get serviceAccount(): string {
    return this.profile.serviceAccount
  }

  get ip(): string | undefined {
    return this.#address === undefined ? undefined : addressOf(this.#address)
  }
}
