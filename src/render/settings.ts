import type { Layout } from '../model/tree.ts';

/** What a tree depends on beside the rows. Another value of any of them is another tree: start from `emptyRenderState`. */
export interface RenderSettings {
  /** Names our folder: `clusters/<cluster>/`. A DNS label. */
  readonly cluster: string;
  /** Who writes that folder (`dory.state.owner`); another owner's folder is refused by `commit`. */
  readonly owner: string;
  readonly layout: Layout;
  /** A docker-registry Secret in each namespace; null if images need none. */
  readonly imagePullSecret: string | null;
  /** Where agents send heartbeats unless their template says otherwise; null leaves it to the SDK. */
  readonly orchestratorUrl: string | null;
  /** What processors need in each namespace in use (sorted): file name under `system/` → content. Pure. */
  readonly supportFiles: (namespaces: readonly string[]) => ReadonlyMap<string, string>;
  /** What tells Argo CD to sync our folder: file name under `argocd/` → content, of the files under `system/`. Pure. Null without it. */
  readonly argocdFiles: ((layout: Layout, systemFiles: ReadonlyMap<string, string>) => ReadonlyMap<string, string>) | null;
}
