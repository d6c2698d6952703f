import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { observeSettings } from '../src/cli/policy.ts';
import { renderFleet } from '../src/cli/render-fleet.ts';
import { renderSettings } from '../src/cli/render-settings.ts';
import { parseFleetFile } from '../src/observe/fleet-file.ts';
import { packageRoot } from '../src/platform/package-root.ts';
import { resolveSettings } from '../src/platform/settings.ts';
import { systemFiles, systemProps } from './system/index.ts';

/**
 * The app of `cdk8s synth`: what the first commit of an installation with the example fleet holds, the system's own manifests among
 * it. cdk8s names the output folder by CDK8S_OUTDIR, and has emptied it.
 */

const root = packageRoot();
const outdir = process.env['CDK8S_OUTDIR'] ?? join(root, 'generated');
const read = (name: string): Promise<string> => readFile(join(root, 'config', name), 'utf8');

// Of no environment and no file: what is generated is what the defaults say, and what Argo CD is told where it applies it.
const flags = { cluster: 'example', apply: 'argocd', 'argocd-repo-url': 'https://git.example.com/fleet.git' };
const settings = resolveSettings({ env: {}, flags, file: null, defaults: await read('defaults.yaml') });
const snapshot = parseFleetFile(await read('fleet.example.yaml'), observeSettings(settings));
const { files } = renderFleet(snapshot, {
  ...renderSettings(settings),
  owner: 'example',
  layout: 'flat',
  // With their placeholders: the reconciler itself writes these only once its settings fill them in.
  supportFiles: (namespaces) => systemFiles(systemProps(settings.system, settings), namespaces),
});
for (const { path, content } of files) {
  if (content === null) continue;
  const file = join(outdir, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
}
