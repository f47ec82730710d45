import type { BuiltImages } from '../images/built-images.ts'
import { imageHandlers } from '../images/handlers.ts'
import type { Part } from '../part.ts'

/** No image stays with a rootless daemon: what gateways ask every agent about images has the same answer always. */
const noImages: BuiltImages = {
  find: () => undefined,
  list: () => [],
  revision: () => 0,
  built: () => Promise.resolve({ refused: [] }),
  origins: () => Promise.resolve([]),
  arriving: () => Promise.resolve(),
  drop: () => Promise.resolve([]),
  retract: () => Promise.resolve([]),
  wanted: () => Promise.resolve(),
  isProtected: () => false,
}

/** What a rootless agent answers to gateways besides builds. */
export const rootlessPart: Part = {
  name: 'rootless',
  start: ({ node }) => Promise.resolve({ handlers: imageHandlers(node, noImages), stop: () => Promise.resolve() }),
}
