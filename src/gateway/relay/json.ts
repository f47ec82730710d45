import type { HttpRequest, HttpResponse } from './http.ts'

export const json = (status: number, body: object): HttpResponse => ({
  status,
  contentType: 'application/json',
  body: JSON.stringify(body),
})

export const refusal = (status: number, message: string): HttpResponse => json(status, { message })

/** The bearer token of a request; undefined without one. For the refusal then: `tokenMissing`. */
export const bearerToken = (headers: HttpRequest['headers']): string | undefined =>
  /^bearer +(\S+)$/i.exec(headers['authorization'] ?? '')?.[1]

export const tokenMissing = refusal(401, 'a service account token is missing: authorization: Bearer …')
