import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { Failure } from '../model/failure.ts';
import { seconds } from '../model/time.ts';
import { mostPaths, type Push } from './argocd.ts';

/**
 * A push as GitHub tells it, signed as GitHub signs: what Argo CD's `/api/webhook` takes, and a Flux `Receiver` of type `github`.
 * Argo CD refreshes the Applications whose folder has a path of it, and of the others moves the cached manifests to the new commit.
 */
export interface WebhookSettings {
  readonly url: string;
  /** The repository as Argo CD's Applications name it. */
  readonly repoUrl: string;
  readonly branch: string;
  /** Asked for each webhook, since it can be replaced. */
  readonly secret: () => Promise<string>;
  /** Certificates to trust instead of those of the system; null: those of the system. */
  readonly caFile: string | null;
}

/** Argo CD answers before it does anything. */
const patience = seconds(5);
const noCommit = '0'.repeat(40);

/** @throws Failure `argocd-unreachable`, `argocd-refused` */
export async function sendWebhook(settings: WebhookSettings, push: Push): Promise<void> {
  const body = webhookBody(settings, push);
  const secret = await settings.secret();
  const ca = settings.caFile === null ? null : await readFile(settings.caFile).catch((cause: unknown) => { throw unreadable(cause); });
  const { status, text } = await post(settings.url, body, { 'x-github-event': 'push', 'x-hub-signature-256': signature(body, secret) }, ca);
  if (status >= 200 && status < 300) return;
  const code = status >= 500 || status === 429 ? 'argocd-unreachable' : 'argocd-refused';
  throw new Failure(code, `Argo CD answered the webhook with ${String(status)}: ${text.slice(0, 200)}`, {
    mend: 'Check argocd.webhookUrl, and that webhook.github.secret in argocd-secret is what argocd.webhookSecretFile holds.',
  });
}

function signature(body: string, secret: string): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`;
}

export function webhookBody({ repoUrl, branch }: Pick<WebhookSettings, 'repoUrl' | 'branch'>, { before, commit, paths }: Push): string {
  const page = pageOf(repoUrl);
  // Argo CD takes an event without paths for one that concerns every Application.
  const modified = paths === null || paths.length > mostPaths ? [] : paths;
  return JSON.stringify({
    ref: `refs/heads/${branch}`,
    before: before ?? noCommit,
    after: commit,
    repository: { html_url: page, default_branch: branch },
    commits: [{ id: commit, added: [], modified, removed: [] }],
  });
}

/** The page of a repository, by which Argo CD knows it again whatever address an Application gives it: host and path, without user, port and `.git`. */
export function pageOf(repoUrl: string): string {
  const scp = /^(?:[\w.-]+@)?(?<host>[\w.-]+):(?!\/\/)(?<path>.+)$/.exec(repoUrl)?.groups;
  const { hostname, pathname } = scp === undefined ? new URL(repoUrl) : { hostname: scp['host'] ?? '', pathname: `/${scp['path'] ?? ''}` };
  return `https://${hostname}${pathname.replace(/\/+$/, '').replace(/\.git$/, '')}`;
}

interface Response {
  readonly status: number;
  readonly text: string;
}

function post(url: string, body: string, headers: Readonly<Record<string, string>>, ca: Buffer | null): Promise<Response> {
  const send = url.startsWith('https:') ? httpsRequest : httpRequest;
  const about = { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)), 'user-agent': 'dory' };
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void => { reject(new Failure('argocd-unreachable', `Argo CD can't be reached at ${url}: ${cause.message}`, { cause })); };
    const sent = send(url, { method: 'POST', headers: { ...about, ...headers }, signal: AbortSignal.timeout(patience), ...(ca === null ? {} : { ca }) }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', fail);
      response.once('end', () => { resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8').trim() }); });
    });
    sent.on('error', fail);
    sent.end(body);
  });
}

function unreadable(cause: unknown): Failure {
  return new Failure('argocd-refused', `argocd.webhookCaFile can't be read: ${cause instanceof Error ? cause.message : String(cause)}.`, { mend: 'Mount the file there, or name another one.', cause });
}
