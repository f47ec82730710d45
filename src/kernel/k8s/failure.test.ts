import { expect, it } from 'vitest'
import { refusal } from './failure.ts'

const attempt = { verb: 'patch', what: 'clusterroles.rbac.authorization.k8s.io insitu-gateway', server: 'https://api' }
const fixOf = (message: string): string | undefined => refusal(attempt, 403, { message }).fix

it.each([
  ['nodes "n1" is forbidden: User "ci" cannot patch resource "nodes" in API group ""', 'Give the account the verb'],
  ['admission webhook "x" denied the request: no', 'admission rule'],
  [
    'clusterroles.rbac.authorization.k8s.io "insitu-gateway" is forbidden: user "ci" (groups=["system:authenticated"]) ' +
      'is attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["events"], Verbs:["list"]}',
    'Use an account with the role cluster-admin',
  ],
])('%s', (message, fix) => expect(fixOf(message)).toContain(fix))
