import { readFile } from 'node:fs/promises';
import { Agent, createServer, request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlPlane } from './control-plane.ts';

/** What becomes of one request: handed on; answered by the proxy itself; held first, for a while or until something else is done; done, and its answer lost; neither done nor answered. */
export type Fate =
  | { readonly kind: 'pass' }
  | { readonly kind: 'answer'; readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string }
  | { readonly kind: 'slow'; readonly ms: number }
  | { readonly kind: 'held'; readonly until: Promise<unknown> }
  | { readonly kind: 'lose' }
  | { readonly kind: 'swallow' };

export interface ApiProxy {
  readonly url: string;
  /** `METHOD /path?query` of each request, in the order in which they came. */
  readonly seen: string[];
  close(): Promise<void>;
}

/** Stands before an API server, with its certificate, and misbehaves as `fate` says. */
export async function apiProxy({ url: upstream, folder }: ControlPlane, fate: (line: string) => Fate): Promise<ApiProxy> {
  const [cert, key] = await Promise.all(['apiserver.crt', 'apiserver.key'].map((name) => readFile(join(folder, name))));
  const agent = new Agent({ keepAlive: true, ca: cert });
  const seen: string[] = [];
  const server = createServer({ cert, key }, (incoming, outgoing) => {
    const line = `${incoming.method ?? ''} ${incoming.url ?? ''}`;
    seen.push(line);
    const decided = fate(line);
    if (decided.kind === 'answer') {
      incoming.resume();
      outgoing.writeHead(decided.status, decided.headers).end(decided.body);
      return;
    }
    if (decided.kind === 'swallow') {
      incoming.resume();
      return;
    }
    const forward = (): void => {
      const sent = request(`${upstream}${incoming.url ?? ''}`, { agent, method: incoming.method, headers: incoming.headers }, (response) => {
        if (decided.kind === 'lose') {
          response.resume().once('end', () => { incoming.socket.destroy(); });
          return;
        }
        outgoing.writeHead(response.statusCode ?? 502, response.headers);
        response.pipe(outgoing);
      });
      sent.on('error', () => { incoming.socket.destroy(); });
      incoming.pipe(sent);
    };
    if (decided.kind === 'slow') void sleep(decided.ms).then(forward);
    else if (decided.kind === 'held') void decided.until.then(forward, () => { incoming.socket.destroy(); });
    else forward();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `https://127.0.0.1:${String((server.address() as AddressInfo).port)}`,
    seen,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      agent.destroy();
    },
  };
}
