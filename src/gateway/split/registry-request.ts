import { type HttpAnswer, readAnswer } from '../../kernel/http/answer.ts'
import { type HttpRequest, send } from '../../kernel/http/send.ts'

export type RegistryRequest = Omit<HttpRequest, 'timeout'>

/** One request to a registry or its token server. Rejects with the network's error. */
export const askRegistry = async (url: URL, request: RegistryRequest): Promise<HttpAnswer> =>
  readAnswer(await send(url, request))
