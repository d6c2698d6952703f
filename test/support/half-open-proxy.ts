import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export interface HalfOpenProxy {
  /** The same server, through the proxy. */
  readonly url: string;
  /** Not a byte comes through the connections that there are any more, nor that one of their ends is gone; new ones work. */
  freeze(): void;
  /** New connections go to another server from now on; those that there are stay. */
  pointTo(databaseUrl: string): void;
  /** Connections that there are end at once; new ones work. */
  cut(): void;
  close(): Promise<void>;
}

/** Stands between a client and a server, for connections whose other end is gone without a word. */
export async function halfOpenProxy(databaseUrl: string): Promise<HalfOpenProxy> {
  let target = new URL(databaseUrl);
  const pairs = new Set<readonly [Socket, Socket]>();
  const frozen = new Set<readonly [Socket, Socket]>();
  const server = createServer((inner) => {
    const outer = connect(Number(target.port), target.hostname);
    const pair = [inner, outer] as const;
    pairs.add(pair);
    for (const [from, to] of [[inner, outer], [outer, inner]] as const) {
      from.on('error', () => undefined);
      from.on('close', () => { if (pairs.delete(pair)) to.destroy(); });
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(databaseUrl);
  url.host = `127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  return {
    url: url.href,
    freeze: () => {
      for (const pair of pairs) {
        const [inner, outer] = pair;
        inner.unpipe(outer);
        outer.unpipe(inner);
        frozen.add(pair);
      }
      pairs.clear();
    },
    cut: () => {
      for (const [inner] of pairs) inner.destroy();
    },
    pointTo: (other) => { target = new URL(other); },
    close: () => closed(server, [...pairs, ...frozen]),
  };
}

function closed(server: Server, pairs: readonly (readonly [Socket, Socket])[]): Promise<void> {
  for (const socket of pairs.flat()) socket.destroy();
  return new Promise((resolve) => { server.close(() => { resolve(); }); });
}
