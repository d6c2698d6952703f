/**
 * House rules of Dory as lint rules whose messages teach. `test/unit/lint.test.ts` holds that each of them fires.
 */
import path from 'node:path';

/** Which folder may import which: the arrows of `src/README.md`, and nothing else. Files are named as from the root. */
const stages = ['observe', 'decide', 'commit', 'apply', 'http'];
const everything = ['model', 'platform', 'plan', 'render', 'charts-ts', ...stages];
const allowed = {
  model: ['model'],
  platform: ['model', 'platform'],
  plan: ['model', 'plan'],
  'charts-ts': ['model', 'charts-ts'],
  render: ['model', 'charts-ts', 'platform', 'render'],
  ...Object.fromEntries(stages.map((stage) => [stage, ['model', 'platform', stage]])),
  publisher: [...everything, 'publisher'],
  // What operators do, over everything; the HTTP server gets operations as values.
  operator: [...everything, 'publisher', 'operator'],
  cycle: [...everything, 'publisher', 'cycle'],
  loop: [...everything, 'publisher', 'cycle', 'loop'],
  cli: [...everything, 'publisher', 'operator', 'cycle', 'loop', 'cli'],
  main: [...everything, 'publisher', 'operator', 'cycle', 'loop', 'cli', 'main'],
};

/** Exceptions, each with its reason. */
const exceptions = {
  // Rendering is pure: of the platform it may use digests only.
  render: (target) => target.startsWith('src/platform/') && target !== 'src/platform/digest.ts' ? 'src/platform/digest.ts' : null,
};

/** The program's entry for `cdk8s synth` composes the stages, as `src/main.ts` does. */
const compositionRoots = new Set(['charts-ts/main.ts']);

function layerOf(file) {
  const [top, second] = file.split('/');
  if (top === 'charts-ts') return 'charts-ts';
  if (top !== 'src') return null;
  return second.replace(/\.ts$/, '');
}

const direction = {
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      against: '{{from}} must not import {{to}}: data flows observe → plan → decide → render → commit → apply, and stages meet only in src/cycle.ts. Pass the value in instead (src/README.md).',
      narrow: '{{from}} may use only {{only}} of src/platform: it is pure.',
    },
  },
  create(context) {
    const file = path.relative(context.cwd, context.filename).split(path.sep).join('/');
    const from = layerOf(file);
    if (from === null || compositionRoots.has(file) || !(from in allowed)) return {};
    const check = (node) => {
      const source = node.source?.value;
      if (typeof source !== 'string' || !source.startsWith('.')) return;
      const target = path.posix.normalize(path.posix.join(path.posix.dirname(file), source));
      const to = layerOf(target);
      if (to === null) return;
      if (!allowed[from].includes(to)) {
        context.report({ node, messageId: 'against', data: { from: file, to: target } });
        return;
      }
      const only = exceptions[from]?.(target) ?? null;
      if (only !== null) context.report({ node, messageId: 'narrow', data: { from: file, only } });
    };
    return { ImportDeclaration: check, ExportNamedDeclaration: check, ExportAllDeclaration: check, ImportExpression: check };
  },
};

const bannedGlobals = new Map([
  ['Date', 'the snapshot\'s `at` is the only now'],
  ['performance', 'the snapshot\'s `at` is the only now'],
  ['process', 'settings come in as values'],
  ['console', 'return a value; the shell logs it'],
  ['setTimeout', 'say when to come back with `wakeAt`'],
  ['setInterval', 'say when to come back with `wakeAt`'],
  ['setImmediate', 'say when to come back with `wakeAt`'],
  ['fetch', 'facts come in through the snapshot'],
  ['crypto', 'ids are stamped by the shell after the decision'],
]);

/** `new Date(x)` of a given moment is arithmetic; `new Date()` and `Date.now()` read a clock. */
function readsClock(identifier) {
  const { parent } = identifier;
  return !(parent.type === 'NewExpression' && parent.callee === identifier && parent.arguments.length > 0);
}

const pure = {
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      global: '`{{name}}` in a pure stage: {{why}}. Same snapshot, same answer, on any machine.',
      random: '`Math.random` in a pure stage: ids and jitter are stamped by the shell after the decision.',
      async: 'A pure stage waits for nothing: do the IO in observe or decide, and pass the value in.',
      node: '`{{name}}` in a pure stage: it sees no file, socket, clock or process.',
    },
  },
  create(context) {
    const report = (node, messageId, data = {}) => { context.report({ node, messageId, data }); };
    const asynchronous = (node) => { if (node.async) report(node, 'async'); };
    return {
      FunctionDeclaration: asynchronous,
      FunctionExpression: asynchronous,
      ArrowFunctionExpression: asynchronous,
      AwaitExpression: (node) => { report(node, 'async'); },
      ImportDeclaration(node) {
        const name = String(node.source.value);
        if (name.startsWith('node:') || name === 'pino') report(node, 'node', { name });
      },
      MemberExpression(node) {
        if (node.object.type === 'Identifier' && node.object.name === 'Math' && node.property.type === 'Identifier' && node.property.name === 'random') report(node, 'random');
      },
      Program(program) {
        const scope = context.sourceCode.getScope(program);
        // Globals of the language resolve to a variable without a definition; those of the host don't resolve at all.
        const builtIn = scope.variables.filter(({ defs }) => defs.length === 0).flatMap(({ references }) => references);
        for (const { identifier } of [...builtIn, ...scope.through]) {
          const why = bannedGlobals.get(identifier.name);
          if (why === undefined || identifier.parent.type.startsWith('TS')) continue;
          if (identifier.name === 'Date' && !readsClock(identifier)) continue;
          report(identifier, 'global', { name: identifier.name, why });
        }
      },
    };
  },
};

const settingsAsValues = {
  meta: {
    type: 'problem',
    schema: [],
    messages: { env: '`process.{{name}}` outside of src/main.ts: the composition root alone reads the environment, takes signals and exits. Pass the value in.' },
  },
  create(context) {
    const banned = new Set(['env', 'argv', 'exit', 'exitCode', 'on', 'once']);
    return {
      MemberExpression(node) {
        if (node.object.type !== 'Identifier' || node.object.name !== 'process' || node.property.type !== 'Identifier') return;
        if (banned.has(node.property.name)) context.report({ node, messageId: 'env', data: { name: node.property.name } });
      },
    };
  },
};

export default { meta: { name: 'dory' }, rules: { direction, pure, 'settings-as-values': settingsAsValues } };
