/** What a Go program takes `--flag=TEXT` for; undefined for what it refuses. */
export const truthOf = (text: string): boolean | undefined =>
  /^(1|t|T|TRUE|true|True)$/.test(text) ? true : /^(0|f|F|FALSE|false|False)$/.test(text) ? false : undefined
