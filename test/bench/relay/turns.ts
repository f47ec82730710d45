/**
 * Lets each subject have its turn in every round. The one that begins changes from round to round: whatever one leaves
 * behind, each of the others finds it as often.
 */
export async function inTurns<T>(subjects: readonly T[], rounds: number, turn: (subject: T) => Promise<void>) {
  for (let round = 0; round < rounds; round++) {
    for (let n = 0; n < subjects.length; n++) await turn(subjects[(round + n) % subjects.length]!)
  }
}
