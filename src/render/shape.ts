import { inheritedEnv, literal, ownSensorEnv } from '../../charts-ts/processor/env.ts';
import { printProcessor, type ProcessorProps } from '../../charts-ts/processor.ts';
import type { EnvVar } from '../model/fleet.ts';
import { scalar } from './scalar.ts';

/**
 * Processors of one template on one kind of target differ in a few values and in the variables of their sensors. So cdk8s
 * prints one of them, a shape, with marks in these places, and the others are stamped from its text. A test, and a sample
 * while running, hold the stamped text equal to what cdk8s prints for each.
 */
export interface Shape {
  readonly head: readonly Piece[];
  /** One variable of a sensor, with its value and with a reference to a Secret. */
  readonly plainVariable: readonly Piece[];
  readonly secretVariable: readonly Piece[];
  readonly tail: readonly Piece[];
}

/** Text as it is, or a place for a value: which one, and the column of its key. */
type Piece = string | { readonly field: Field; readonly indent: number };

const placementFields = ['name', 'namespace', 'processorId', 'epoch', 'revision', 'reason', 'nodeName', 'secretVersions'] as const;
type VariableField = 'variable' | 'value' | 'secretVariable' | 'secretName' | 'secretKey';
type Field = (typeof placementFields)[number] | VariableField;

/** Of what processors share one shape, in one text. `chart` options are fixed for a render state, and not in it. */
export function shapeKey(props: ProcessorProps): string {
  const rotated = props.secretVersions === null ? [] : ['rotated'];
  return [props.workload.digest, props.target.kind, props.phase, ...rotated, ...hiddenBySensor(props)].join(' ');
}

/** Names of the template that the sensor overrides: they are missing from the shape's text. */
function hiddenBySensor(props: ProcessorProps): readonly string[] {
  if (props.sensorEnv.length === 0) return [];
  const names = new Set(props.sensorEnv.map(({ name }) => name));
  return inheritedEnv(props).map(({ name }) => name).filter((name) => names.has(name));
}

export function printShape(props: ProcessorProps): Shape {
  const mark = unusedMark(props);
  const hole = (field: Field): string => `${mark}-${field}`;
  const hidden = new Set(hiddenBySensor(props));
  const inherited = inheritedEnv(props).filter(({ name }) => !hidden.has(name));
  const text = printProcessor({
    ...props,
    ...Object.fromEntries(placementFields.map((field) => [field, hole(field)])),
    target: props.target.kind === 'edge' ? { kind: 'edge', nodeName: hole('nodeName') } : props.target,
    secretVersions: props.secretVersions === null ? null : hole('secretVersions'),
    workload: { ...props.workload, env: inherited },
    orchestratorUrl: null,
    sensorEnv: [
      { name: hole('variable'), value: hole('value') },
      { name: hole('secretVariable'), secret: { name: hole('secretName'), key: hole('secretKey') } },
    ],
  });
  return cut(text, mark);
}

/** A mark that the template's own texts don't contain. */
function unusedMark({ workload, imagePullSecret, orchestratorUrl }: ProcessorProps): string {
  const texts = JSON.stringify([workload, imagePullSecret, orchestratorUrl]);
  let mark = 'dory-mark';
  for (let n = 0; texts.includes(mark); n += 1) mark = `dory-mark-${String(n)}`;
  return mark;
}

/** The two example variables stand one after the other, at the end of the list. */
function cut(text: string, mark: string): Shape {
  const lines = text.split(/(?<=\n)/);
  const lineOf = (field: Field): number => lines.findIndex((line) => line.endsWith(` ${mark}-${field}\n`));
  const plainAt = lineOf('variable');
  const secretAt = lineOf('secretVariable');
  const tailAt = Math.max(lineOf('secretName'), lineOf('secretKey')) + 1;
  const pieces = (from: number, to: number): readonly Piece[] => piecesOf(lines.slice(from, to), mark);
  return {
    head: pieces(0, plainAt),
    plainVariable: pieces(plainAt, secretAt),
    secretVariable: pieces(secretAt, tailAt),
    tail: pieces(tailAt, lines.length),
  };
}

function piecesOf(lines: readonly string[], mark: string): readonly Piece[] {
  const pieces: Piece[] = [];
  let text = '';
  for (const line of lines) {
    const at = line.indexOf(mark);
    if (at === -1) {
      text += line;
      continue;
    }
    const indent = line.search(/[^ -]/);
    pieces.push(text + line.slice(0, at), { field: line.slice(at + mark.length + 1, -1) as Field, indent });
    text = '\n';
  }
  return text === '' ? pieces : [...pieces, text];
}

export function stamp(shape: Shape, props: ProcessorProps): string {
  const values: Values = { ...props, nodeName: props.target.kind === 'edge' ? props.target.nodeName : '', secretVersions: props.secretVersions ?? '' };
  let text = fill(shape.head, values);
  for (const variable of ownSensorEnv(props.sensorEnv)) text += stampVariable(shape, variable);
  return text + fill(shape.tail, values);
}

function stampVariable(shape: Shape, variable: EnvVar): string {
  return 'value' in variable
    ? fill(shape.plainVariable, { variable: variable.name, value: literal(variable.value) })
    : fill(shape.secretVariable, { secretVariable: variable.name, secretName: variable.secret.name, secretKey: variable.secret.key });
}

type Values = Readonly<Partial<Record<Field, string>>>;

function fill(pieces: readonly Piece[], values: Values): string {
  let text = '';
  for (const piece of pieces) {
    text += typeof piece === 'string' ? piece : scalar(values[piece.field] ?? '', piece.indent);
  }
  return text;
}
