import { InsituError, type GrpcStatus } from '../errors.ts'
import type { Status } from './objects.ts'

/** What was tried, for the sentence of an error. */
export interface Attempt {
  /** RBAC verb: get, list, watch, create, update, patch, delete. */
  readonly verb: string
  /** From `describeRef`. */
  readonly what: string
  readonly server: string
}

/** An answer of the API server that is not a success. */
export class KubernetesError extends InsituError {
  /** HTTP status; 0 when there was no answer at all. */
  readonly httpStatus: number
  /** The machine readable reason of the server: `NotFound`, `AlreadyExists`, `Conflict`, `Expired`, … */
  readonly reason: string
  /** Milliseconds the server asked us to wait before another try, if it did. */
  readonly retryAfter: number | undefined

  constructor(
    code: string,
    message: string,
    details: { httpStatus: number; reason: string; retryAfter?: number | undefined } & {
      fix?: string | undefined
      status?: GrpcStatus
      cause?: unknown
    },
  ) {
    super(code, message, details)
    this.httpStatus = details.httpStatus
    this.reason = details.reason
    this.retryAfter = details.retryAfter
  }
}

const isReason = (error: unknown, reason: string, httpStatus: number): boolean =>
  error instanceof KubernetesError && (error.reason === reason || error.httpStatus === httpStatus)

export const isNotFound = (error: unknown): boolean => isReason(error, 'NotFound', 404)
/** The resource version is older than what the server still has: list again. */
export const isExpired = (error: unknown): boolean => isReason(error, 'Expired', 410)
export const isForbidden = (error: unknown): boolean =>
  error instanceof KubernetesError && (error.httpStatus === 403 || error.httpStatus === 401)
export const isAlreadyExists = (error: unknown): boolean =>
  error instanceof KubernetesError && error.reason === 'AlreadyExists'
/** Somebody else changed the object in between; or, for server-side apply, owns the field. */
export const isConflict = (error: unknown): boolean => error instanceof KubernetesError && error.reason === 'Conflict'

/** Turns a refusal into an error that says what was tried, why it failed and what helps. */
export function refusal(attempt: Attempt, httpStatus: number, status: Status | undefined): KubernetesError {
  const tried = `${attempt.verb} ${attempt.what}`
  const reason = status?.reason ?? ''
  const said = status?.message ?? `HTTP ${httpStatus}`
  const seconds = status?.details?.retryAfterSeconds
  const base = { httpStatus, reason, retryAfter: seconds === undefined ? undefined : seconds * 1000 }
  switch (httpStatus) {
    case 401:
      return new KubernetesError('K8S_UNAUTHENTICATED', `the API server does not accept our credentials (${tried})`, {
        ...base,
        status: 'UNAUTHENTICATED',
        fix: 'Log in again, or check that the token or certificate has not expired.',
      })
    case 403:
      return new KubernetesError('K8S_FORBIDDEN', `not allowed to ${tried}: ${said}`, {
        ...base,
        status: 'PERMISSION_DENIED',
        fix: forbiddenFix(attempt, said),
      })
    case 404:
      return new KubernetesError('K8S_NOT_FOUND', `${attempt.what} does not exist`, { ...base, status: 'NOT_FOUND' })
    case 409:
      return new KubernetesError(reason === 'AlreadyExists' ? 'K8S_EXISTS' : 'K8S_CONFLICT', `${tried}: ${said}`, {
        ...base,
        status: reason === 'AlreadyExists' ? 'ALREADY_EXISTS' : 'ABORTED',
      })
    case 400:
    case 422:
      return new KubernetesError('K8S_INVALID', `${tried}: ${said}`, { ...base, status: 'INVALID_ARGUMENT' })
    default:
      return new KubernetesError(httpStatus === 410 ? 'K8S_EXPIRED' : 'K8S_FAILED', `${tried}: ${said}`, {
        ...base,
        status: httpStatus >= 500 || httpStatus === 429 ? 'UNAVAILABLE' : 'UNKNOWN',
      })
  }
}

/** RBAC refusals are repaired by a rule; refusals of admission or quota are not, their message says what is wrong. */
function forbiddenFix(attempt: Attempt, said: string): string {
  // Of one who makes or binds a role (pkg/registry/rbac/validation of Kubernetes).
  if (said.includes('RBAC permissions not currently held')) {
    return 'Use an account with the role cluster-admin: nobody can grant a role more than they have.'
  }
  const rbac = said.includes(' cannot ')
  if (!rbac) return 'The message above comes from an admission rule of the cluster: change the object or the rule.'
  return `Give the account the verb "${attempt.verb}" on ${attempt.what} (RBAC), or install again with \`insitu install\`.`
}

const tlsCodes = new Set([
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_HAS_EXPIRED',
  'ERR_TLS_CERT_ALTNAME_INVALID',
])

/** Turns a broken connection into an error that says which server and what helps. */
export function unreachable(attempt: Attempt, cause: unknown): KubernetesError {
  const code = (cause as { code?: unknown } | null)?.code
  const tls = typeof code === 'string' && tlsCodes.has(code)
  const detail = cause instanceof Error ? cause.message || String(code) : String(cause)
  return new KubernetesError('K8S_UNREACHABLE', `the API server ${attempt.server} cannot be reached: ${detail}`, {
    httpStatus: 0,
    reason: '',
    cause,
    status: 'UNAVAILABLE',
    fix: tls
      ? 'The server certificate does not fit the CA of the kubeconfig: get a fresh kubeconfig.'
      : 'Check that the cluster runs and that its address can be reached from here. Behind a proxy: proxy-url of the kubeconfig, or HTTPS_PROXY.',
  })
}
