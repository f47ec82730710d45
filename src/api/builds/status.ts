import { boolean, foreign, integer, list, listBy, object, type Of, oneOf, required, string } from './field.ts'
import type { recipe } from './spec.ts'

/**
 * Scheduled: its Job was made. Running: the pod builds. Succeeded: how it ended; `kubectl wait` looks at it. Accepted:
 * of a Build that waits for pulls, whether its names are its own.
 */
export const conditionTypes = ['Scheduled', 'Running', 'Succeeded', 'Accepted'] as const
export type ConditionType = (typeof conditionTypes)[number]

/** Reasons of the condition Succeeded; CAMissing is one of Scheduled. */
export const reasons = {
  queued: 'Queued',
  waitingForPull: 'WaitingForPull',
  templateMissing: 'TemplateNotFound',
  running: 'Running',
  succeeded: 'BuildSucceeded',
  failed: 'BuildFailed',
  infrastructure: 'InfrastructureFailed',
  cancelled: 'Cancelled',
  timeout: 'Timeout',
  invalid: 'InvalidSpec',
  jobDeleted: 'JobDeleted',
  caMissing: 'CAMissing',
  accepted: 'NamesClaimed',
  nameTaken: 'NameTaken',
  notAllowed: 'NotAllowed',
  notServed: 'NotServed',
} as const

const condition = object('As in every Kubernetes object.', {
  type: required(string('Scheduled, Running, Succeeded or Accepted.', { max: 64 })),
  status: required(oneOf('Whether it holds.', ['True', 'False', 'Unknown'])),
  reason: required(string('One word for programs.', { max: 64 })),
  message: string('A sentence for people.', { max: 32_768 }),
  lastTransitionTime: required(string('When the status changed last.', { format: 'date-time' })),
})

const time = (description: string) => string(description, { format: 'date-time' })

const former = object('An attempt that was begun again.', {
  attempt: required(integer('Which it was.', { minimum: 1, maximum: 100 })),
  pod: string('Its pod, which is gone.', { max: 253 }),
  node: string('The node that built.', { max: 253 }),
  message: string('What was lost, with its last lines.', { max: 4096 }),
  completionTime: time('When it ended.'),
})

export const status = object('What became of it.', {
  phase: oneOf('In one word.', ['Queued', 'WaitingForPull', 'Starting', 'Running', 'Succeeded', 'Failed', 'Cancelled']),
  conditions: listBy('Scheduled, Running, Succeeded, Accepted.', 'type', condition, 8),
  attempt: integer('Which attempt this is; a new one is made only after a failure of the infrastructure.', {
    minimum: 1,
    maximum: 100,
  }),
  job: string('The Job of this attempt, once it was made.', { max: 253 }),
  pod: string('Its pod.', { max: 253 }),
  node: string('The node that built.', { max: 253 }),
  platform: string('What was built for, with commas.', { max: 1024 }),
  digest: string('Of the image: sha256:…', { max: 128 }),
  names: list('What the image is called.', string('A name.', { max: 512 }), 16),
  bases: list(
    'Images that it was built from, as its provenance says. Absent: not known.',
    object('An image.', {
      name: required(string('Its name, without digest.', { max: 512 })),
      digest: required(string('What the name stood for: sha256:…', { max: 128 })),
      pinned: boolean('The Dockerfile names the digest.'),
    }),
  ),
  commit: string('The commit of the git source.', { max: 64 }),
  former: listBy('Attempts that were lost, the oldest first.', 'attempt', former, 16),
  startTime: time('When its turn came. From then on the spec cannot change.'),
  fromTemplate: foreign<Of<typeof recipe>>(
    'Fields of the spec that its template gave it when its turn came. They hold until it is gone, whatever becomes of the template.',
  ),
  completionTime: time('When it ended.'),
  message: string('Why it waits or failed; of a failed build the last lines.', { max: 32_768 }),
  pulls: object('Of a Build with trigger OnPull: what gateways need to know of it, with its template put in.', {
    names: required(list('Names as containerd writes them.', string('A name.', { max: 512 }), 16)),
    serviceAccountName: required(string('Who builds.', { max: 253 })),
    platforms: list('What it is built for. None: what the nodes that ask are.', string('A platform.', { max: 64 }), 16),
    pushes: required(boolean('Registries have it afterwards.')),
    last: string('The Build that a pull began last; the rest of this status is its own.', { max: 253 }),
  }),
})
