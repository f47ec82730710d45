import { ensureImages } from './base.ts'
import { allRecipes } from './all.ts'
import { withImageRegistry } from './registry.ts'
import type { Progress } from '../progress.ts'

/** Makes all base images and pushes them into the stand-in registry's storage, whether or not a lab runs. */
export async function makeImages(progress: Progress): Promise<void> {
  await withImageRegistry((registry) => ensureImages(allRecipes, registry, progress))
  progress.step(`${allRecipes.length} base images are in the registry`)
}
