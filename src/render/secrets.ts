/**
 * The last line: forms that are a credential whatever stands around them. `observe` decides first and far more broadly, by
 * key and by shape; each of these is one that it takes too, so that nothing it lets through stops the fleet here.
 */
const shapes = new RegExp(
  [
    '-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----',
    '://[^\\s/?#@:]*:[^\\s/?#@]+@', // a URL's user and password
    '\\b(?:AKIA|ASIA)[A-Z0-9]{16}\\b', // AWS
    '\\bgh[pousr]_[A-Za-z0-9]{36}', // GitHub
    '\\beyJ[A-Za-z0-9_-]{8,}\\.eyJ[A-Za-z0-9_-]{8,}\\.', // JWT
  ].join('|'),
);

export function looksSecret(text: string): boolean {
  return shapes.test(text);
}
