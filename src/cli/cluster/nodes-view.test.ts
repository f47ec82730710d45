import { expect, it } from 'vitest'
import type { NodeReport } from '../../api/node-report.ts'
import { type ListedNode, nodesText } from './nodes-view.ts'

it('native and emulated platforms are columns of their own', () => {
  const report = {
    ...{ version: 1, node: 'n1', ready: true, state: 'ready', buildkit: '0.33.1', containerd: '2.4.2', findings: [] },
    platforms: ['linux/amd64', 'linux/386', 'linux/arm/v7', 'linux/riscv64'],
    nativePlatforms: ['linux/amd64', 'linux/386'],
  } as unknown as NodeReport
  const node: ListedNode = { node: 'n1', ready: true, reason: null, platform: 'linux/amd64', pod: 'agent', report }
  const [head, line] = nodesText([node]).split('\n')
  expect(head).toMatch(/ NATIVE +EMULATED +/)
  expect(line).toMatch(/ linux\/amd64,linux\/386 +linux\/arm\/v7,linux\/riscv64 +0\.33\.1/)
})
