import { count, roleTable } from './config-values.ts'

/** The `[controller]` table of insitu.toml. */
export interface ControllerConfig {
  /** Builds of one namespace that run at once. */
  readonly buildsPerNamespace: number
  /** Builds that run on one build node at once, and on average on all of them. */
  readonly buildsPerNode: number
}

export const defaultControllerConfig: ControllerConfig = { buildsPerNamespace: 20, buildsPerNode: 4 }

/**
 * Reads the `controller` table of a parsed insitu.toml. Tables of other roles are theirs to read.
 * @throws InsituError CONFIG_KEY, CONFIG_VALUE with the key's full name.
 */
export function controllerConfig(table: Readonly<Record<string, unknown>>): ControllerConfig {
  const byDefault = defaultControllerConfig
  const controller = roleTable(table, 'controller', Object.keys(byDefault))
  const number = (key: keyof ControllerConfig): number => count(controller[key], `controller.${key}`, byDefault[key])
  return { buildsPerNamespace: number('buildsPerNamespace'), buildsPerNode: number('buildsPerNode') }
}
