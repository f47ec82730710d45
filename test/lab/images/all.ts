import { multiBusybox, systemRecipes, type Recipe } from './base.ts'
import { buildkit, debian, node } from './debian.ts'

/** In the order in which they are made. */
export const allRecipes: readonly Recipe[] = [...systemRecipes, multiBusybox, debian, node, buildkit]
