/** Mbit/s of the link that many nodes have: in the lab's benchmarks of nodes and registries, and in those of the mirror. */
export const link = 1000

/** What `tc qdisc add dev DEVICE` makes a link of so many Mbit/s with. */
export const rootBucket = (rate: number): string[] => [
  ...['root', 'tbf', 'rate', `${rate}mbit`],
  ...['burst', '1mb', 'latency', '100ms'],
]
