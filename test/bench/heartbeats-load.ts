import { connect } from 'node:net';

/** The load of `heartbeats.ts`, in a process of its own: connections that each send the next beat when the last one was answered. */
export interface LoadOrder {
  readonly port: number;
  readonly connections: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
  readonly bodies: readonly string[];
}

export interface LoadResult {
  readonly perSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  /** Answers that were not 200. */
  readonly refused: number;
}

process.once('message', (order: LoadOrder) => {
  void load(order).then((result) => process.send?.(result, () => { process.disconnect(); }));
});

async function load({ port, connections, warmUpMs, measureMs, bodies }: LoadOrder): Promise<LoadResult> {
  const requests = bodies.map((body) =>
    Buffer.from(`POST /api/v1/edge/heartbeat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${String(body.length)}\r\n\r\n${body}`),
  );
  const latencies: number[] = [];
  let refused = 0;
  const from = performance.now() + warmUpMs;
  const until = from + measureMs;
  await Promise.all(
    Array.from({ length: connections }, (_, i) => converse(port, until, requests, Math.floor((i * requests.length) / connections), (sentAt, ok) => {
      const now = performance.now();
      if (sentAt >= from && now <= until) latencies.push(now - sentAt);
      if (!ok) refused += 1;
    })),
  );
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => latencies[Math.floor(latencies.length * share)] ?? Number.NaN;
  return { perSecond: (latencies.length / measureMs) * 1000, p50: at(0.5), p99: at(0.99), refused };
}

/** One connection. An answer is complete when its last byte closes the JSON object. */
function converse(port: number, until: number, requests: readonly Buffer[], first: number, onAnswer: (sentAt: number, ok: boolean) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let next = first;
    let sentAt = 0;
    let answer = '';
    const send = (): void => {
      const request = requests[next++ % requests.length];
      if (performance.now() >= until || request === undefined) {
        socket.end();
        return;
      }
      sentAt = performance.now();
      socket.write(request);
    };
    socket.on('connect', send);
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1');
      if (!answer.endsWith('}')) return;
      onAnswer(sentAt, answer.startsWith('HTTP/1.1 200'));
      answer = '';
      send();
    });
    socket.on('error', reject);
    socket.on('close', () => { resolve(); });
  });
}
