/** gRPC status codes by name: https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
export const grpcStatus = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const

export type GrpcStatus = keyof typeof grpcStatus

export interface ErrorDetails {
  /** What the reader can do about it, as an imperative sentence. */
  readonly fix?: string | undefined
  /** The gRPC status a client sees when the error ends its call. Default UNKNOWN. */
  readonly status?: GrpcStatus | undefined
  readonly cause?: unknown
}

/**
 * The one error class of the project. `code` is stable and meant for programs (`SCREAMING_SNAKE`), `message` is a
 * sentence for people without secrets in it, `fix` says what to do. The process exit code is `exitCode(error)`.
 */
export class InsituError extends Error {
  override readonly name = 'InsituError'
  readonly code: string
  readonly fix: string | undefined
  readonly status: GrpcStatus

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.fix = details.fix
    this.status = details.status ?? 'UNKNOWN'
  }
}

/** A wrong command line: exit code 2, as the shell's own tools do. */
export class UsageError extends InsituError {
  constructor(message: string, details: ErrorDetails = {}) {
    super('USAGE', message, { status: 'INVALID_ARGUMENT', ...details })
  }
}

export function exitCode(error: unknown): number {
  return error instanceof UsageError ? 2 : 1
}

/** One line for a log or a terminal: the messages of the chain of causes, outermost first. */
export function describeError(error: unknown): string {
  const parts: string[] = []
  for (let e: unknown = error; e !== undefined && parts.length < 8; e = e instanceof Error ? e.cause : undefined) {
    const text = e instanceof Error ? e.message : typeof e === 'string' ? e : JSON.stringify(e)
    if (!parts.some((p) => p.includes(text))) parts.push(text)
  }
  return parts.join(': ')
}
