/** The cluster's domain from a pod's resolv.conf: `search ns.svc.cluster.local svc.cluster.local cluster.local`. */
export function clusterDomain(resolvConf: string | undefined): string | undefined {
  const line = (resolvConf ?? '').split('\n').findLast((text) => text.startsWith('search '))
  const services = line?.split(/\s+/).find((name) => name.startsWith('svc.'))
  return services?.slice('svc.'.length)
}
