const day = 24 * 3600 * 1000

/** Milliseconds that a leaf of ours is good for at most. */
export const longestLife = day

/**
 * Milliseconds that certificates of ours are good for before they are made. Clocks of nodes differ, also by hours where
 * somebody has set one to local time: a node whose clock is behind would take no connection otherwise.
 */
export const skew = day
