import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The checkout this lab belongs to. Nodes see it at the same path. */
export const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
export const toolsBin = join(checkout, '.tools/bin')
/** What is made once and kept: the stand-in registry's content and the images. Ignored by git. */
export const cacheDir = join(checkout, '.lab')
/** Everything of the running lab; gone after `down`. One lab per machine. */
export const stateDir = '/var/lib/insitu-lab'
/** The disk that `stateDir` is where the machine's own is too slow for it, see disk.ts. */
export const diskFile = `${stateDir}.disk`

export const bridge = 'insitu0'
/** The namespace of etcd, API server, controller manager, scheduler and the two registries. */
export const controlNetns = 'insitu-control'
export const nodeNetns = (node: string): string => `insitu-${node}`
export const nodeCgroup = (node: string): string => `insitu-${node}`
/** Comment on every firewall rule of ours, so that exactly those are removed. */
export const ruleComment = 'insitu-lab'

/**
 * Addresses. The bridge is .1, the control plane .2, node N is .10+N. Pods of node N live in 10.244.N.0/24, so that a
 * pod's address says where it runs.
 */
export const net = {
  nodes: '10.77.0.0/24',
  pods: '10.244.0.0/16',
  services: '10.96.0.0/16',
  host: '10.77.0.1',
  control: '10.77.0.2',
  apiService: '10.96.0.1',
  dnsService: '10.96.0.10',
} as const

/** Stands in for docker.io, ghcr.io and the others; plain HTTP. */
export const standInRegistry = `${net.control}:5000`
/** Takes pushes; empty at the start of every lab; plain HTTP. */
export const pushRegistry = `${net.control}:5001`
/** Registries whose images the nodes take from the stand-in. */
export const stoodInFor = ['docker.io', 'ghcr.io', 'registry.k8s.io', 'quay.io', 'gcr.io'] as const

export const apiServer = `https://${net.control}:6443`
export const maxNodes = 9

export const nodeName = (index: number): string => `node${index}`
/** 1 for `node1`; NaN for what is not a node of the lab. */
export const nodeIndex = (node: string): number => Number(/^node([1-9])$/.exec(node)?.[1])
export const nodeIP = (node: string): string => `10.77.0.${10 + nodeIndex(node)}`
export const podRange = (node: string): string => `10.244.${nodeIndex(node)}.0/24`

export const nodeDir = (node: string): string => join(stateDir, 'nodes', node)
export const logFile = (component: string, node?: string): string =>
  join(stateDir, 'logs', node === undefined ? `${component}.log` : `${node}-${component}.log`)
export const kubeconfigPath = join(stateDir, 'admin.kubeconfig')
