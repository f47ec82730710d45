/**
 * Header fields as they were on the wire: name, value, name, value, … in their order, repeated names included. Bytes
 * are characters (latin1). An object would lose lines of one name, and BuildKit reads a session's methods as such.
 */
export type RawHeaders = readonly string[]
