import { unary } from '../../kernel/grpc/unary.ts'

/** A unary call of containerd's API in one of its namespaces: `leases.v1.Leases/List`, the encoded request, milliseconds. */
export type ContainerdCall = (method: string, request?: Uint8Array, timeout?: number) => Promise<Uint8Array>

/** @param socket path of containerd's socket. The call throws InsituError GRPC_CALL_FAILED with the call's status. */
export const containerdCall =
  (socket: string, namespace: string): ContainerdCall =>
  (method, request, timeout) =>
    unary({
      socket,
      method: `/containerd.services.${method}`,
      metadata: { 'containerd-namespace': namespace },
      ...(request === undefined ? {} : { request }),
      ...(timeout === undefined ? {} : { timeout }),
    })
