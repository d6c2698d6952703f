import { setMaxListeners } from 'node:events';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

export interface BeatingNode {
  readonly id: string;
  readonly processorId: string | null;
}

/** The agents of many nodes: each sends a heartbeat again and again, to whichever instance takes it, as a Service would route it. */
export interface Agents {
  /** From now on these instances take heartbeats. */
  pointTo(urls: readonly string[]): void;
  /** These nodes fall silent, as a machine does that dies. */
  kill(nodes: readonly string[]): void;
  /** Beats that no instance answered with 200, with why. */
  readonly failures: readonly string[];
  readonly answered: number;
  stop(): Promise<void>;
}

/** An instance that is stopped in mid-request says nothing. */
const patienceMs = 1_500;
/** As long as the SDK tries. */
const givenUpAfterMs = 15_000;

export function startAgents(nodes: readonly BeatingNode[], everyMs: number): Agents {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const stopping = new AbortController();
  // Each of them waits for it.
  setMaxListeners(0, stopping.signal);
  const dead = new Set<string>();
  const failures: string[] = [];
  let urls: readonly string[] = [];
  let answered = 0;

  const beat = async ({ id, processorId }: BeatingNode, first: number): Promise<void> => {
    const body = JSON.stringify({ processor_id: processorId ?? '', node_id: id, status: 'healthy', role: 'primary', uptime_sec: 1 });
    const start = performance.now();
    for (let attempt = first; !stopping.signal.aborted; attempt += 1) {
      const url = urls[attempt % urls.length] ?? '';
      const status = await post(agent, `${url}/api/v1/edge/heartbeat`, body).catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
      if (status === 200) {
        answered += 1;
        return;
      }
      // An answer that is no 200 is none that an agent may ever get.
      if (typeof status === 'number' || performance.now() - start > givenUpAfterMs) {
        failures.push(`${String(status)} from ${url}`);
        return;
      }
      await pause(50, stopping.signal);
    }
  };
  const live = async (node: BeatingNode, index: number): Promise<void> => {
    await pause((index * everyMs) / nodes.length, stopping.signal);
    while (!stopping.signal.aborted && !dead.has(node.id)) {
      await beat(node, index);
      await pause(everyMs, stopping.signal);
    }
  };
  const lives = nodes.map(live);
  return {
    pointTo: (now) => { urls = now; },
    kill: (names) => { for (const name of names) dead.add(name); },
    failures,
    get answered() {
      return answered;
    },
    stop: async () => {
      stopping.abort();
      agent.destroy();
      await Promise.all(lives);
    },
  };
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}

function post(agent: Agent, url: string, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, method: 'POST', headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }, timeout: patienceMs }, (answer) => {
      answer.resume();
      answer.on('end', () => { resolve(answer.statusCode ?? 0); });
      answer.on('error', reject);
    });
    sent.on('timeout', () => { sent.destroy(new Error('no answer')); });
    sent.on('error', reject);
    sent.end(body);
  });
}
