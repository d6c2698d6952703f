import { reasonCodes, sentence, type Evidence, type ReasonCode } from '../model/reasons.ts';

const isKnown = (code: unknown): code is ReasonCode => reasonCodes.includes(code as ReasonCode);

/** The sentence of a recorded reason, with its fence where one was needed. A code of another version is shown as it is. */
export function why(reason: string, evidence: Evidence): string {
  const said = isKnown(reason) ? sentence(reason, evidence) : reason;
  const fence = evidence['fence'];
  return isKnown(fence) ? `${said}; ${sentence(fence, evidence)}` : said;
}
