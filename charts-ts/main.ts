import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { observeSettings } from '../src/cli/policy.ts';
import { renderSettings } from '../src/cli/render-settings.ts';
import type { RevisionId } from '../src/model/ids.ts';
import { placementAfter } from '../src/model/plan.ts';
import type { Snapshot } from '../src/model/snapshot.ts';
import { parseFleetFile } from '../src/observe/fleet-file.ts';
import { plan } from '../src/plan/plan.ts';
import { packageRoot } from '../src/platform/package-root.ts';
import { resolveSettings } from '../src/platform/settings.ts';
import { summarize } from '../src/render/change.ts';
import { emptyRenderState, render, type RenderDelta } from '../src/render/render.ts';
import { systemFiles, systemProps } from './system/index.ts';

/**
 * The app of `cdk8s synth`: what the first commit of an installation with the example fleet holds, the system's own manifests among
 * it. cdk8s names the output folder by CDK8S_OUTDIR, and has emptied it.
 */

const root = packageRoot();
const outdir = process.env['CDK8S_OUTDIR'] ?? join(root, 'generated');
const read = (name: string): Promise<string> => readFile(join(root, 'config', name), 'utf8');

// Of no environment and no file: what is generated is what the defaults say.
const settings = resolveSettings({ env: {}, flags: { cluster: 'example' }, file: null, defaults: await read('defaults.yaml') });
const snapshot = parseFleetFile(await read('fleet.example.yaml'), observeSettings(settings));
const { files } = render(
  emptyRenderState({
    ...renderSettings(settings),
    owner: 'example',
    layout: 'flat',
    supportFiles: (namespaces) => systemFiles(systemProps(settings.system, settings), namespaces),
  }),
  firstPlacements(snapshot),
);
for (const { path, content } of files) {
  if (content === null) continue;
  const file = join(outdir, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
}

/** What the first decision about a fleet writes, as one revision. */
function firstPlacements({ at, fleet, ...world }: Snapshot): RenderDelta {
  const revision = 1 as RevisionId;
  const { changes, refusals } = plan({ at, fleet, ...world });
  if (refusals.length > 0) throw new Error(`the example fleet is refused: ${refusals.map(({ subject }) => subject).join(', ')}`);
  const specs = new Map(fleet.processors.map((spec) => [spec.id, spec]));
  const workloads = new Map(fleet.workloads.map((workload) => [workload.digest, workload]));
  const changed = changes.flatMap((change) => {
    const placement = placementAfter(change, revision, at);
    const spec = specs.get(change.processorId);
    const workload = spec && workloads.get(spec.workload);
    return placement !== null && spec !== undefined && workload !== undefined ? [{ spec, workload, placement }] : [];
  });
  const trigger = changes[0]?.reason ?? 'none';
  return { revision, changed, removed: [], change: summarize({ revision, trigger, decidedAt: at }, changes) };
}
