import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { InsituError } from '../../src/kernel/errors.ts'
import { binfmtOf, takeOut } from './handlers.ts'

/**
 * A node of the lab can be of another architecture than the machine: its containerd and its buildkitd take themselves
 * for programs of that architecture (tools/foreign), Kubernetes is told so, and the kernel runs its programs with
 * qemu, so nothing on that node knows that they are emulated. The node's own programs stay the machine's.
 */
export const foreignArchitecture = 'arm64'

export const foreignProgram = (name: 'containerd' | 'buildkitd'): string => `${name}-foreign`

const interpreter = '/usr/bin/qemu-aarch64-static'
/** The first bytes of an ELF file for 64-bit ARM, little-endian, executable or position-independent: elf(5). */
const magic = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0xb7, 0]
/** What of them counts: not the operating system and its version, and either of the two kinds of programs. */
const mask = [
  ...Array<number>(7).fill(0xff),
  0,
  0,
  ...Array<number>(7).fill(0xff),
  0xfe,
  ...Array<number>(3).fill(0xff),
]

const escaped = (bytes: readonly number[]): string =>
  bytes.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')

/** Of the handler that a node of the lab brings. */
export const nodeHandler = (node: string): string => `lab-${node}`

/**
 * Lets the kernel run programs of the foreign architecture, in all containers of the machine.
 * @param pid a process that sees binfmt_misc mounted
 */
export async function putHandler(name: string, pid: number): Promise<void> {
  const directory = binfmtOf(`/proc/${pid}/root`)
  if (existsSync(`${directory}/${name}`)) return
  if (!existsSync(`${directory}/register`)) {
    throw new InsituError('LAB_KERNEL', 'the kernel has no binfmt_misc', { fix: 'run: modprobe binfmt_misc' })
  }
  // F: opened now, so that it works in containers. P: programs keep the name they were called by.
  await writeFile(`${directory}/register`, `:${name}:M::${escaped(magic)}:${escaped(mask)}:${interpreter}:PF`)
}

/** Takes that back, through the process if it lives and else where the machine has the handlers. */
export async function removeHandler(name: string, pid: number | undefined): Promise<void> {
  // Missing: the node was not foreign, or its handler went with the last mount of the file system.
  for (const root of [...(pid === undefined ? [] : [`/proc/${pid}/root`]), '']) await takeOut(name, root)
}

/**
 * The kubelet says the architecture that it was compiled for with every report, whatever --node-labels or an
 * administrator say. The API server writes the other one.
 */
export function foreignPolicy(nodes: readonly string[]): readonly object[] {
  const [name, version] = ['insitu-lab-foreign', 'admissionregistration.k8s.io/v1beta1']
  const add = (path: string): string => `JSONPatch{op: "add", path: ${path}, value: "${foreignArchitecture}"}`
  return [
    {
      apiVersion: version,
      kind: 'MutatingAdmissionPolicy',
      metadata: { name },
      spec: {
        failurePolicy: 'Fail',
        reinvocationPolicy: 'Never',
        matchConstraints: {
          resourceRules: [
            {
              apiGroups: [''],
              apiVersions: ['v1'],
              operations: ['CREATE', 'UPDATE'],
              resources: ['nodes', 'nodes/status'],
            },
          ],
        },
        matchConditions: [{ name: 'foreign', expression: `object.metadata.name in ${JSON.stringify(nodes)}` }],
        mutations: [
          {
            patchType: 'JSONPatch',
            jsonPatch: {
              expression: `[${add('"/metadata/labels/" + jsonpatch.escapeKey("kubernetes.io/arch")')}, ${add('"/status/nodeInfo/architecture"')}]`,
            },
          },
        ],
      },
    },
    {
      apiVersion: version,
      kind: 'MutatingAdmissionPolicyBinding',
      metadata: { name },
      spec: { policyName: name },
    },
  ]
}
