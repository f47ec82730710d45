import { dump, loadAll } from 'js-yaml'

/** One YAML document, keys in the order of the object, long strings unfolded. Ends with a newline. */
export const toYaml = (value: unknown): string => dump(value, { lineWidth: -1, noRefs: true })

/** The documents of a YAML stream; empty ones are left out. @throws YAMLException with the line. */
export const parseYaml = (text: string): unknown[] =>
  loadAll(text).filter((document) => document !== null && document !== undefined)
