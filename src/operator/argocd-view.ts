import type { Pool } from 'pg';
import { z } from 'zod';
import { processorFolders, systemFolder } from '../../charts-ts/argocd/index.ts';
import { lacksCommit } from '../apply/argocd-record.ts';
import { formatInstant, instant } from '../model/time.ts';
import type { Layout } from '../model/tree.ts';
import { ms } from '../platform/pg.ts';
import { moment } from './fields.ts';

/** Argo CD as `status` tells of it. */
export const argocdSchema = (listed: number) => z
  .object({
    applications: z.int(),
    synced: z.int().describe('Those that show the newest commit that concerns them.'),
    missing: z.array(z.object({ path: z.string() })).describe('Folders of ours that no Application syncs.'),
    untold: z
      .object({ commit: z.string(), since: moment, fellBack: z.boolean().describe('It was told in another way.'), why: z.string(), mend: z.string() })
      .nullable()
      .describe('The newest commit of which Argo CD could not be told as the settings say; null: it was.'),
    problems: z
      .array(z.object({ application: z.string(), sync: z.string(), health: z.string(), message: z.string().nullable(), mend: z.string().nullable() }))
      .describe(`Those that are not synced, fail, are not well or wait for a person; at most ${String(listed)}.`),
    mend: z.string().nullable().describe('How to bring back what is missing.'),
  })
  .nullable()
  .describe("Argo CD's Applications that sync our folder; null: it does not apply what is committed, or is not watched.");
export type ArgocdView = z.output<ReturnType<typeof argocdSchema>>;

interface Row {
  readonly name: string;
  readonly path: string;
  readonly sync: string;
  readonly health: string;
  readonly problem: string | null;
  /** Of the sync that fails; null: none does. */
  readonly failure: string | null;
  readonly automatic: boolean;
  readonly prunes: boolean;
  readonly awaited_commit: string | null;
  readonly awaited_ms: string | null;
  readonly lacks: boolean;
}

interface Head {
  readonly layout: Layout | null;
  readonly commit_sha: string | null;
  readonly why: string | null;
  readonly mend: string | null;
  readonly fell_back: boolean;
  readonly since_ms: string | null;
}

export async function readArgocd(pool: Pool, cluster: string, listed: number): Promise<ArgocdView> {
  const { rows: [head] } = await pool.query<Head>(
    `select s.layout, a.untold_commit as commit_sha, a.untold_why as why, a.untold_mend as mend, a.fell_back, ${ms('a.untold_since')} as since_ms from dory.argocd a cross join dory.state s`,
  );
  if (head === undefined) return null;
  const { rows } = await pool.query<Row>(
    `select name, path, sync, health, problem, case when failing then coalesce(nullif(message, ''), phase) end as failure, automatic, prunes, awaited_commit,
            ${ms('awaited_since')} as awaited_ms, coalesce(${lacksCommit('a')}, false) as lacks
       from dory.argocd_applications a order by name`,
  );
  const { path: system } = systemFolder({ cluster });
  // Before the first decision there is no folder.
  const folders = head.layout === null ? [] : [...processorFolders({ cluster }, head.layout).map(({ path }) => path), system];
  const synced = new Set(rows.map(({ path }) => path));
  const missing = folders.filter((path) => !synced.has(path)).map((path) => ({ path }));
  return {
    applications: rows.length,
    synced: rows.filter(({ sync, lacks }) => sync === 'Synced' && !lacks).length,
    missing,
    untold: untoldOf(head),
    problems: rows.flatMap((row) => problemOf(row, { isSystem: row.path === system, mend: applyAgain(cluster) })).slice(0, listed),
    mend: missing.length === 0 ? null : applyAgain(cluster),
  };
}

const applyAgain = (cluster: string): string => `kubectl apply -f clusters/${cluster}/argocd/`;

function untoldOf({ commit_sha: commit, why, mend, fell_back: fellBack, since_ms: since }: Head): NonNullable<ArgocdView>['untold'] {
  return commit === null || why === null || since === null ? null : { commit, since: formatInstant(instant(Number(since))), fellBack, why, mend: mend ?? '' };
}

/** A pod that is slow to start is told of by its roll-out. */
const wellEnough: readonly string[] = ['Healthy', 'Progressing', 'Suspended'];

interface About {
  readonly isSystem: boolean;
  /** What makes it again as it was generated. */
  readonly mend: string;
}

function problemOf(row: Row, about: About): NonNullable<ArgocdView>['problems'] {
  const { name: application, sync, health } = row;
  const said = causeOf(row) ?? policyOf(row, about) ?? waitOf(row);
  if (said === null && sync === 'Synced' && wellEnough.includes(health)) return [];
  return [{ application, sync, health, message: said?.message ?? null, mend: said?.mend ?? null }];
}

interface Said {
  readonly message: string;
  readonly mend: string | null;
}

/** In Argo CD's own words. */
function causeOf({ problem, failure }: Row): Said | null {
  const message = problem ?? failure;
  return message === null ? null : { message, mend: null };
}

/** What a person has switched off. */
function policyOf({ automatic, prunes }: Row, { isSystem, mend }: About): Said | null {
  if (!automatic) return { message: 'automatic sync is switched off (spec.syncPolicy.automated, or the annotation argocd.argoproj.io/skip-reconcile): what is committed does not come', mend };
  // The old StatefulSet of a processor that moved would start its pod again when the node is back.
  if (!prunes && !isSystem) return { message: 'prune is switched off: what moved away still runs, or starts again', mend };
  return null;
}

function waitOf({ lacks, awaited_commit: commit, awaited_ms: since }: Row): Said | null {
  if (!lacks || commit === null || since === null) return null;
  return { message: `commit ${commit.slice(0, 12)} is not on the cluster; it lags since ${formatInstant(instant(Number(since)))}`, mend: null };
}
