import { systemRecipes, type Recipe } from './base.ts'

export const allRecipes: readonly Recipe[] = [...systemRecipes]
