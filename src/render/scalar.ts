import { Yaml } from 'cdk8s';

// Which texts cdk8s's printer (YAML 1.1) leaves as they are, and which it only has to put in quotes. These three are its
// rules for one line, each a little wider than its own: a text that one of them takes without need is asked about below.
const multiLineOrEscaped = /[\p{Cc}\p{Surrogate}]/u;
const readAsOther = /^$|^[-+.\d][-+.\d_:a-fA-FxXtTzZiInN ]*$|^(?:y|yes|n|no|on|off|true|false|null|~|<<|e[-+]?\d+)$/i;
const indicator = /^[ ,[\]{}#&*!|>'"%@`]|^[?-](?: |$)|: | #|[ :]$/;
const wholeNumber = /^[1-9]\d*$/;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A text as cdk8s prints it behind a key that stands in column `indent` (an even number). */
export function scalar(text: string, indent: number): string {
  if (multiLineOrEscaped.test(text)) return printInPlace(text, indent);
  if (readAsOther.test(text)) return likeNumber(text, indent);
  if (!indicator.test(text)) return text;
  return /["'\\]/.test(text) ? printInPlace(text, indent) : `"${text}"`;
}

function likeNumber(text: string, indent: number): string {
  if (wholeNumber.test(text)) return `"${text}"`;
  return uuid.test(text) ? text : printInPlace(text, indent);
}

/** Asks cdk8s's own printer, at the same depth: a text of several lines is indented by it. About 0.05 ms. */
function printInPlace(text: string, indent: number): string {
  let nested: unknown = { x: text };
  for (let column = 0; column < indent; column += 2) nested = { x: nested };
  const printed = Yaml.stringify(nested);
  const start = printed.indexOf(`${' '.repeat(indent)}x: `) + indent + 'x: '.length;
  return printed.slice(start, -1);
}
