/** core/v1 ContainerStatus, as far as it is read. */
export interface RawContainerStatus {
  readonly name: string
  readonly state?: { readonly terminated?: RawTermination }
  readonly lastState?: { readonly terminated?: RawTermination }
}

interface RawTermination {
  readonly reason?: string
  readonly exitCode?: number
  readonly finishedAt?: string
}

/** How a container ended last. */
export function lastEndOf(
  status: RawContainerStatus | undefined,
): { readonly at: string; readonly words: string } | undefined {
  const end = status?.state?.terminated ?? status?.lastState?.terminated
  if (end?.finishedAt === undefined) return undefined
  const words =
    end.reason === 'OOMKilled'
      ? 'the kernel killed its agent for want of memory'
      : `its agent ended with exit code ${end.exitCode}`
  return { at: end.finishedAt, words }
}
