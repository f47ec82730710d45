import { callKind } from '../../buildkit/methods.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import { statusOf } from '../../kernel/grpc/status.ts'
import { describeCaller } from '../listener/caller.ts'
import { answerContent } from '../history/content.ts'
import { answerDiskUsage, answerPrune } from '../history/disk.ts'
import { answerHistory } from '../history/list.ts'
import { answerUpdateHistory } from '../history/update.ts'
import { relayBridge, relayStatus, relayWhole } from './build-calls.ts'
import { soleNode } from './choose.ts'
import type { Call, RelayContext } from './context.ts'
import { endCall } from './end-call.ts'
import { answerHealth } from './health.ts'
import { answerInfo, answerWorkers, relayTrace } from './node-calls.ts'
import { relaySession } from './session.ts'
import { relaySolve } from './solve.ts'

/** Treats one call by its kind (design §3). An error becomes the status the client sees. Never rejects. */
export async function route(context: RelayContext, call: Call): Promise<void> {
  context.logger.trace({ path: call.path, raw: call.raw }, 'call')
  try {
    await dispatch(context, call)
    context.logger.trace({ path: call.path }, 'call ended')
  } catch (error) {
    if (!(error instanceof InsituError)) context.logger.error({ err: error, path: call.path }, 'a call failed here')
    else context.logger.debug({ path: call.path, err: describeError(error) }, 'call refused')
    context.telemetry.failed(error instanceof InsituError ? error.code : 'INTERNAL')
    endCall(call.stream, statusOf(error))
  }
}

function dispatch(context: RelayContext, call: Call): Promise<void> {
  const kind = callKind(call.path)
  switch (kind) {
    case 'solve':
      return relaySolve(context, call)
    case 'session':
      return relaySession(context, call)
    case 'status':
      return relayStatus(context, call)
    case 'bridge':
    case 'bridge-solve':
      return relayBridge(context, call, kind)
    case 'workers':
      return answerWorkers(context, call)
    case 'info':
      return answerInfo(context, call)
    case 'trace':
      return relayTrace(context, call)
    case 'health':
      return answerHealth(context, call)
    case 'disk-usage':
    case 'prune':
    case 'history':
    case 'update-history':
    case 'content':
      return answerRecords(context, call, kind)
    case 'unknown':
      context.logger.warn({ path: call.path, caller: describeCaller(call.caller) }, 'a client called an unknown method')
      throw new InsituError('METHOD_UNKNOWN', `insitu does not know the method ${call.path}`, {
        status: 'UNIMPLEMENTED',
      })
  }
}

const records = {
  'disk-usage': answerDiskUsage,
  prune: answerPrune,
  history: answerHistory,
  'update-history': answerUpdateHistory,
  content: answerContent,
} as const

/** Calls about caches, records and content. A gateway that says in no record whose it is has nothing to look at in them. */
function answerRecords(context: RelayContext, call: Call, kind: keyof typeof records): Promise<void> {
  const owners = context.config.recordOwner || !context.admission.administrator(call.caller)
  const sole = owners ? undefined : soleNode(context.directory)
  return sole ? relayWhole(call, sole) : records[kind](context, call)
}
