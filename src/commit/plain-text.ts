/**
 * Control characters, line ends of any kind, what turns or hides text (bidirectional marks, zero-width characters), and halves of
 * surrogate pairs.
 */
const unsafe = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]|\p{Surrogate}/gu;

/** Text from outside as one plain line of at most `limit` characters. What can't be shown is shown as `�`. */
export function plainText(text: string, limit: number): string {
  const line = text.slice(0, limit * 4).replace(/[\t\n\r ]+/g, ' ').replace(unsafe, '\ufffd').trim();
  const characters = Array.from(line);
  return characters.length <= limit ? line : `${characters.slice(0, limit - 1).join('')}…`;
}
