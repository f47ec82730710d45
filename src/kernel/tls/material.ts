/** A certificate with its key and the CA it is checked against, all PEM. */
export interface TlsMaterial {
  readonly cert: string
  readonly key: string
  readonly ca: string
}

/** Certificates that are renewed while the process runs. Servers and clients subscribe instead of reading once. */
export interface TlsSource {
  current(): TlsMaterial
  /** @returns a function that ends the subscription. */
  onChange(listener: (material: TlsMaterial) => void): () => void
}
