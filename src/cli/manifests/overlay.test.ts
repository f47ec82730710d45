import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { image, serviceAccounts } from '../../api/names.ts'
import { manifests } from './manifests.ts'
import { defaultOptions, modes } from './options.ts'

describe('the kustomize overlay of docs/install.md', () => {
  const page = readFileSync(new URL('../../../docs/install.md', import.meta.url), 'utf8')

  it.each(modes)('replaces the image that the controller is told, mode %s', (mode) => {
    const deployment = manifests({ ...defaultOptions(), mode })
      .map(({ object }) => object)
      .find(({ kind, metadata }) => kind === 'Deployment' && metadata.name === serviceAccounts.controller)
    type Spec = { template: { spec: { containers: [{ image: string; args: string[] }] } } }
    const [container] = (deployment as unknown as { spec: Spec }).spec.template.spec.containers
    const at = container.args.indexOf('--image') + 1
    expect(container.args[at]).toBe(container.image)
    expect(page).toContain(`fieldPaths: [spec.template.spec.containers.0.args.${at}]`)
  })

  it('names the image that is replaced', () => {
    expect(page).toContain(`- { name: ${image}, `)
  })
})
