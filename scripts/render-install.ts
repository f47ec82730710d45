// Writes what `insitu install --print` would: npm run -s render
import { writeFileSync } from 'node:fs'
import { kinds } from '../src/cli/manifests/build-objects.ts'
import { manifests } from '../src/cli/manifests/manifests.ts'
import { defaultOptions } from '../src/cli/manifests/options.ts'
import { overlay } from '../src/cli/manifests/overlay.ts'
import { render } from '../src/cli/manifests/render.ts'

const install = new URL('../install/', import.meta.url)
writeFileSync(new URL('buildkit.yaml', install), render(manifests(defaultOptions())))
writeFileSync(new URL('crds/builds.yaml', install), render(kinds()))
for (const mode of ['rootless', 'mixed'] as const) {
  writeFileSync(new URL(`overlays/${mode}/buildkit.yaml`, install), overlay(mode))
}
