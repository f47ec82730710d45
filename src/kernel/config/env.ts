/** The only place that reads the process environment; everything else gets it as data. */
export type Env = Readonly<Record<string, string | undefined>>

export const processEnv = (): Env => process.env
