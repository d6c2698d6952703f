/** Waits to be killed, as the user and group that are given, if it may become them. */
const [, , uid = '', gid = ''] = process.argv;
if (process.getuid?.() === 0) {
  process.setgid?.(Number(gid));
  process.setuid?.(Number(uid));
}
process.stdout.write('ready\n');
setInterval(() => undefined, 60_000);
