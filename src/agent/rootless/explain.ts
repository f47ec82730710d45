import type { Finding } from '../../api/node-report.ts'

/** What a kernel and a pod let an unprivileged process do, as far as it can be read. */
export interface Limits {
  /** The trial worked: a user namespace with many users, and a mount in it. Else what the program said. */
  readonly trial: 'works' | { readonly failure: string }
  /** Programs that are not on the PATH. */
  readonly missing: readonly string[]
  /** This process's own user. */
  readonly user: number
  /** /proc/sys/user/max_user_namespaces. */
  readonly maxUserNamespaces: number | undefined
  /** /proc/sys/kernel/unprivileged_userns_clone, of Debian's and Arch's kernels: 0 forbids. */
  readonly unprivilegedClone: number | undefined
  /** /proc/sys/kernel/apparmor_restrict_unprivileged_userns, of Ubuntu's kernels: 1 forbids. */
  readonly apparmorRestricts: number | undefined
  /** The AppArmor profile of this process; undefined without AppArmor. */
  readonly apparmor: string | undefined
  /** A seccomp filter is on (`Seccomp: 2` of /proc/self/status). */
  readonly seccomp: boolean
  readonly noNewPrivileges: boolean
  /** CAP_SETUID and CAP_SETGID can still be gained (`CapBnd`). */
  readonly mayMapUsers: boolean
  /** Users that /etc/subuid and /etc/subgid give to this one; the smaller number. */
  readonly subordinates: number
}

/** What Dockerfiles count on: users and groups up to nobody, 65534. */
const wanted = 65_535

const fatal = (code: string, message: string, fix: string): Finding => ({ code, severity: 'fatal', message, fix })

/** Why no rootless daemon can run here, most certain reason first. None when the trial worked. */
export function explainLimits(limits: Limits): Finding[] {
  const programs = limits.missing.map((name) =>
    fatal('PROGRAM_MISSING', `the program ${name} is not on the PATH`, 'use insitu’s image, or install it'),
  )
  if (programs.length > 0 || limits.trial === 'works') return programs
  const reasons = reasonsOf(limits)
  return reasons.length > 0
    ? reasons
    : [
        fatal(
          'ROOTLESS_UNAVAILABLE',
          `no user namespace with mounts can be made: ${limits.trial.failure}`,
          'see docs/rootless.md for what a kernel and a pod have to allow',
        ),
      ]
}

function reasonsOf(limits: Limits): Finding[] {
  const reasons: Finding[] = []
  if (limits.maxUserNamespaces === 0) {
    reasons.push(
      fatal(
        'USERNS_DISABLED',
        'this kernel allows no user namespaces: user.max_user_namespaces is 0',
        'on the node: sysctl -w user.max_user_namespaces=28633, and the same in /etc/sysctl.d',
      ),
    )
  }
  if (limits.unprivilegedClone === 0) {
    reasons.push(
      fatal(
        'USERNS_DISABLED',
        'this kernel keeps user namespaces from ordinary users: kernel.unprivileged_userns_clone is 0',
        'on the node: sysctl -w kernel.unprivileged_userns_clone=1, and the same in /etc/sysctl.d',
      ),
    )
  }
  if (limits.noNewPrivileges) {
    reasons.push(
      fatal(
        'NO_NEW_PRIVILEGES',
        'the pod may gain no privileges, so newuidmap cannot write the table of users: Pod Security "restricted" asks for that',
        'use a namespace with pod-security.kubernetes.io/enforce: baseline, and allowPrivilegeEscalation: true for the agent',
      ),
    )
  }
  if (!limits.mayMapUsers) {
    reasons.push(
      fatal(
        'USER_CAPABILITIES_MISSING',
        'the pod dropped the capabilities SETUID and SETGID, which newuidmap and newgidmap need',
        'capabilities: {drop: [ALL], add: [SETUID, SETGID]}, as insitu install --mode rootless writes it',
      ),
    )
  }
  if (limits.subordinates < wanted) {
    reasons.push(
      fatal(
        'SUBUID_MISSING',
        `user ${limits.user} has ${limits.subordinates} subordinate users in /etc/subuid and /etc/subgid, and images count on ${wanted}`,
        'run the agent as user 10001 of insitu’s image (runAsUser: 10001)',
      ),
    )
  }
  if (limits.apparmorRestricts === 1) {
    reasons.push(
      fatal(
        'APPARMOR_RESTRICTS_USERNS',
        'this kernel takes the capabilities from user namespaces of ordinary users: kernel.apparmor_restrict_unprivileged_userns is 1',
        'on the node: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or a profile of its own for the agent (docs/rootless.md)',
      ),
    )
  }
  // A profile that lets namespaces be made is not to blame for what comes after.
  if (limits.seccomp && limits.trial !== 'works' && /unshare failed: Operation not/.test(limits.trial.failure)) {
    reasons.push(
      fatal(
        'SECCOMP_FORBIDS',
        'a seccomp profile keeps the pod from making user namespaces and mounts, as RuntimeDefault does',
        'leave seccompProfile away where kubelets do not set RuntimeDefault for all (seccompDefault), else use type Localhost with docs/rootless.md’s profile',
      ),
    )
  }
  if (reasons.length === 0 && limits.apparmor !== undefined && limits.apparmor !== 'unconfined') {
    reasons.push(
      fatal(
        'APPARMOR_FORBIDS',
        `the AppArmor profile ${limits.apparmor} keeps the pod from mounting`,
        'appArmorProfile: {type: Localhost, …} with a profile that allows mounts, or Unconfined in a namespace that allows it (docs/rootless.md)',
      ),
    )
  }
  return reasons
}
