import { expect, test } from 'vitest'
import { callKind } from './methods.ts'

test.for([
  ['/moby.buildkit.v1.Control/Solve', 'solve'],
  ['/moby.buildkit.v1.frontend.LLBBridge/Solve', 'bridge-solve'],
  ['/moby.buildkit.v1.frontend.LLBBridge/OfTheFuture', 'bridge'],
  ['/moby.buildkit.v1.Control/Prune', 'prune'],
  ['/containerd.services.content.v1.Content/Read', 'content'],
  ['/moby.buildkit.v1.Control/OfTheFuture', 'unknown'],
  ['/containerd.services.images.v1.Images/Delete', 'unknown'],
  ['constructor', 'unknown'],
])('%s is %s', ([path, kind]) => {
  expect(callKind(path as string)).toBe(kind)
})
