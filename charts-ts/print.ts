import { App, Yaml, type Chart } from 'cdk8s';

/** A chart as YAML, as `cdk8s synth` writes it, in cdk8s' own order of keys, which an environment variable would take from it. */
export function print(chart: (app: App) => Chart): string {
  // With every option given, App reads no environment.
  const app = new App({ outdir: 'unused', recordConstructMetadata: false });
  return Yaml.stringify(...(chart(app).toJson() as unknown[]).map(inOrder));
}

function inOrder(object: unknown): unknown {
  const { apiVersion, kind, metadata, ...rest } = sorted(object) as Readonly<Record<string, unknown>>;
  return { apiVersion, kind, metadata, ...rest };
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, member]) => [key, sorted(member)]));
}
