import { manifests } from './manifests.ts'
import { defaultOptions, type Mode } from './options.ts'
import { render } from './render.ts'

/** The YAML of a kustomize overlay for a mode: everything but the kinds, which it takes from install/crds. */
export const overlay = (mode: Mode): string =>
  render(manifests({ ...defaultOptions(), mode }).filter(({ object }) => object.kind !== 'CustomResourceDefinition'))
