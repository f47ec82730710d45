import { normalizeReference, repositoryOf } from '../../buildkit/reference.ts'

/** Normalises the image names of pods. Thousands of pods share a few names: each is parsed and stored once. */
export interface ImageNames {
  /** @returns undefined for text that is no image name; the kubelet refuses such a pod by itself. */
  normalize(image: string): string | undefined
  /** The repository of a normalised name. */
  repository(image: string): string
}

export function createImageNames(limit = 20_000): ImageNames {
  const normalized = new Map<string, string | undefined>()
  const repositories = new Map<string, string>()
  const remember = <V>(cache: Map<string, V>, key: string, make: () => V): V => {
    if (cache.has(key)) return cache.get(key) as V
    // Names of images that are long gone must not pile up; a fresh start costs little.
    if (cache.size >= limit) cache.clear()
    const value = make()
    cache.set(key, value)
    return value
  }
  return {
    normalize: (image) =>
      remember(normalized, image, () => {
        try {
          return normalizeReference(image)
        } catch {
          return undefined
        }
      }),
    repository: (image) => remember(repositories, image, () => repositoryOf(image)),
  }
}
