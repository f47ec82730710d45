/** ASCII of what JSON is made of. */
const codes = {
  quote: 34,
  comma: 44,
  openBracket: 91,
  backslash: 92,
  closeBracket: 93,
  openBrace: 123,
  closeBrace: 125,
}

/**
 * Reads the JSON of a list while it arrives and hands each of its `items` on by itself. A page of pods is a megabyte of
 * text and several times that as objects: read at once they outlive the young generation and stay until the whole heap
 * is collected, one by one they are gone at once, and the event loop is served between chunks.
 *
 * It looks at brackets and strings only: what is wrong inside of an item is for JSON.parse to say.
 */
export class ListItems<T> {
  private readonly onItem: (item: T) => void
  /** The document without its items. */
  private readonly rest: Buffer[] = []
  /** What has arrived of an item whose end has not. */
  private parts: Buffer[] = []
  private depth = 0
  private inString = false
  private escaped = false
  private inItems = false
  /** The string of the outermost object that we are in, or that was the last. */
  private key = ''

  constructor(onItem: (item: T) => void) {
    this.onItem = onItem
  }

  /** @throws SyntaxError for an item that is no JSON; whatever `onItem` throws. */
  read(chunk: Buffer): void {
    const { length } = chunk
    let at = 0
    // Of the item, or of the part of the rest, that is not put away yet.
    let start = 0
    while (at < length) {
      if (this.inString) {
        at = this.skipString(chunk, at)
        continue
      }
      const byte = chunk[at++] as number
      if (byte > codes.comma && byte < codes.openBracket) continue
      switch (byte) {
        case codes.quote:
          this.inString = true
          if (this.depth === 1) this.key = ''
          break
        case codes.comma:
          if (this.depth === 1) this.key = ''
          break
        case codes.openBrace:
          if (this.inItems && this.depth === 2) start = at - 1
          this.depth += 1
          break
        case codes.openBracket:
          this.depth += 1
          if (this.depth !== 2 || this.key !== 'items') break
          this.inItems = true
          this.keep(chunk, start, at)
          break
        case codes.closeBrace:
          this.depth -= 1
          if (this.inItems && this.depth === 2) this.item(chunk.subarray(start, at))
          break
        case codes.closeBracket:
          this.depth -= 1
          if (!this.inItems || this.depth !== 1) break
          this.inItems = false
          start = at - 1
          break
      }
    }
    if (!this.inItems) this.keep(chunk, start, length)
    else if (this.depth > 2) this.parts.push(chunk.subarray(start))
  }

  /** @returns the document with an empty list of items, as text. */
  end(): string {
    return Buffer.concat(this.rest).toString('utf8')
  }

  /** @returns where the string, or the chunk, ends. */
  private skipString(chunk: Buffer, from: number): number {
    const { length } = chunk
    let at = from
    while (at < length) {
      const byte = chunk[at++]
      if (this.escaped) this.escaped = false
      else if (byte === codes.backslash) this.escaped = true
      else if (byte === codes.quote) {
        this.inString = false
        if (this.depth === 1) this.key += chunk.toString('latin1', from, at - 1)
        return at
      }
    }
    if (this.depth === 1) this.key += chunk.toString('latin1', from, at)
    return at
  }

  private keep(chunk: Buffer, start: number, end: number): void {
    this.rest.push(Buffer.from(chunk.subarray(start, end)))
  }

  private item(last: Buffer): void {
    const bytes = this.parts.length === 0 ? last : Buffer.concat([...this.parts, last])
    this.parts = []
    this.onItem(JSON.parse(bytes.toString('utf8')) as T)
  }
}
