import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Epoch, NodeId, NodeName, ProcessorId, RevisionId } from '../../src/model/ids.ts';
import type { ManifestInput } from '../../src/model/placement.ts';
import { instant } from '../../src/model/time.ts';
import { sensorParser } from '../../src/observe/parse-sensor.ts';
import { parseTemplate } from '../../src/observe/parse-template.ts';
import { digestText } from '../../src/platform/digest.ts';
import { emptyRenderState, render } from '../../src/render/render.ts';

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string(),
  fc.constantFrom('', ' ', ' \n', '\n', '0o17', '-_1', 'yes', '\u2028', '\u0085', '\ufeff', '\ud800', '/data', '/', '/a:b', '1', '500m', 'x'.repeat(300), 'configmap', 'https://u:p@h/'),
);
const name = fc.oneof(fc.constantFrom('DORY_STATE_PVC_MOUNT', 'DORY_STATE_BACKEND', 'DORY_HEALTH_PATH', 'DORY_HEALTH_PORT', 'DORY_SHUTDOWN_TIMEOUT_SEC', 'API_TOKEN', '-_1', 'A.b-c'), fc.string());
/** Mostly what is fine, or hardly any row would get through all checks at once. */
const mostly = <T, U>(fine: T, odd: fc.Arbitrary<U>): fc.Arbitrary<T | U> => fc.oneof({ weight: 6, arbitrary: fc.constant(fine) }, { weight: 1, arbitrary: odd });

const runtime = fc.record({
  resources: mostly({}, fc.dictionary(fc.constantFrom('cpu_request', 'cpu_limit', 'memory_limit', 'gpu_limit', 'gpu_required'), fc.oneof(text, fc.integer(), fc.boolean()), { maxKeys: 2 })),
  container: fc.record({ command: mostly([], fc.array(text, { maxLength: 2 })), args: mostly(['--verbose'], fc.array(text, { maxLength: 2 })), port: mostly(8080, fc.oneof(fc.integer(), text)) }),
  health_probes: mostly({}, fc.dictionary(fc.constantFrom('period_sec', 'timeout_sec', 'initial_delay_sec', 'failure_threshold'), fc.oneof(fc.integer(), text), { maxKeys: 2 })),
  env_vars: fc.oneof(fc.dictionary(fc.constantFrom('A', 'B', 'API_TOKEN', 'DORY_STATE_PVC_MOUNT'), text, { maxKeys: 2 }), fc.dictionary(name, text, { maxKeys: 1 })),
});

const templates = fc.record({ slug: mostly('camera', text), version: mostly('1.0.0', text), image: mostly('registry.example.com/camera:1', text), runtime });
const sensors = fc.record({ type: mostly('rtsp', text), config: fc.dictionary(fc.string({ minLength: 1 }), fc.oneof(text, fc.integer(), fc.array(text, { maxLength: 2 })), { maxKeys: 2 }) });

/** One row must never stop the others: what observe lets through, render takes. */
test('what observe does not quarantine can be rendered', () => {
  let rendered = 0;
  fc.assert(fc.property(templates, sensors, (template, sensor) => {
    const id = '00000000-0000-4000-8000-00000000000a';
    const parsed = parseTemplate(
      { hash: '', id, slug: template.slug, name: template.slug },
      [{ hash: '', templateId: id, imageUri: template.image, digest: null, version: template.version, runtimeConfig: JSON.stringify(template.runtime), buildConfig: null }],
    );
    const read = sensorParser()({ hash: '', id, type: sensor.type, connectionConfig: JSON.stringify(sensor.config) });
    if (!parsed.ok || !read.ok) return;
    const processorId = '00000000-0000-4000-8000-0000000000c1' as ProcessorId;
    const digest = digestText('spec');
    const input: ManifestInput = {
      spec: { id: processorId, workload: parsed.workload.digest, namespace: 'default', home: { kind: 'managed' }, sensor: read.sensor, digest },
      workload: parsed.workload,
      placement: { processorId, epoch: 1 as Epoch, target: { kind: 'edge', nodeId: id as NodeId, nodeName: 'edge-1' as NodeName }, phase: 'active', reason: 'first-placement', since: instant(0), specDigest: digest, revision: 1 as RevisionId },
    };
    const state = emptyRenderState({ cluster: 'test', owner: 'test', layout: 'flat', imagePullSecret: null, orchestratorUrl: null, supportFiles: () => new Map(), argocdFiles: null });
    const change = { revision: 1 as RevisionId, trigger: 'first-placement', decidedAt: '', counts: {}, moves: [], movesOmitted: 0 };
    expect(() => render(state, { revision: 1 as RevisionId, changed: [input], removed: [], change })).not.toThrow();
    rendered += 1;
  }), { numRuns: 2_000 });
  expect(rendered, 'not all were quarantined').toBeGreaterThan(100);
});
