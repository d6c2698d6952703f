import { printProcessor, type ProcessorProps } from '../../charts-ts/processor.ts';
import { Failure } from '../model/failure.ts';
import { printShape, shapeKey, stamp, type Shape } from './shape.ts';
import { checkWorkload } from './validate.ts';

/** Finds or prints the shape of each processor, and keeps stamping honest. Private to one render. */
export interface Stamper {
  /** All that are known, and those of this render. */
  readonly shapes: Map<string, Shape>;
  readonly used: Map<string, Shape>;
  stamped: number;
}

export function startStamper(shapes: ReadonlyMap<string, Shape>): Stamper {
  return { shapes: new Map(shapes), used: new Map(), stamped: 0 };
}

/** Besides the first of each new shape, the first of every this many stamped manifests is compared with cdk8s's (0.7 ms each). */
const sampleEvery = 1_000;

/** The shape to stamp a processor from. Throws `Failure('render-invalid')` if its template, or a sample, is not as it must be. */
export function shapeOf(stamper: Stamper, props: ProcessorProps): Shape {
  const key = shapeKey(props);
  const known = stamper.shapes.get(key);
  if (known === undefined) checkWorkload(props.processorId, props.workload);
  const shape = known ?? printShape(props);
  stamper.shapes.set(key, shape);
  stamper.used.set(key, shape);
  if (known === undefined || stamper.stamped % sampleEvery === 0) checkSample(shape, props);
  stamper.stamped += 1;
  return shape;
}

function checkSample(shape: Shape, props: ProcessorProps): void {
  if (stamp(shape, props) === printProcessor(props)) return;
  throw new Failure('render-invalid', `processor ${props.processorId}: the stamped manifest is not what cdk8s prints`, {
    mend: 'This is a bug: please report it with the row of the processor and of its template.',
  });
}

/** About 4 KB each; a hundred templates, each active and stopping on both kinds of target, are 400. */
const shapesKept = 512;

/** What the next render may start from. */
export function keptShapes({ shapes, used }: Stamper): ReadonlyMap<string, Shape> {
  return shapes.size <= shapesKept ? shapes : used;
}
