import type { ProcessorSpec } from '../model/fleet.ts';
import type { PolicyOverride, ProcessorPolicy, DailyWindow } from '../model/snapshot.ts';
import { instant, type Instant } from '../model/time.ts';
import type { World } from './world.ts';

/** One source of a processor's policy. */
export interface PolicyLayer {
  readonly origin: 'default' | 'template' | 'processor';
  readonly policy: PolicyOverride['policy'];
}

/** What the settings say for all, its template for all of its kind, and its own; each goes over those before it, field by field. */
export function policyLayers(world: World, spec: ProcessorSpec): readonly [PolicyLayer & { readonly policy: ProcessorPolicy }, ...PolicyLayer[]] {
  const { overrides, snapshot } = world;
  const template = overrides.size === 0 ? undefined : overrides.get(`template/${world.workloadOf(spec).slug}`);
  const own = overrides.get(`processor/${spec.id}`);
  return [
    { origin: 'default', policy: snapshot.policy.processors },
    ...(template === undefined ? [] : [{ origin: 'template', policy: template } as const]),
    ...(own === undefined ? [] : [{ origin: 'processor', policy: own } as const]),
  ];
}

export function policyOf(world: World, spec: ProcessorSpec): ProcessorPolicy {
  const [base, ...others] = policyLayers(world, spec);
  return others.reduce<ProcessorPolicy>((below, { policy }) => ({ ...below, ...policy }), base.policy);
}

const minute = 60_000;
const day = 1_440;

/** One that begins when it ends lasts all day. */
export function isWithin({ fromMinute, toMinute }: DailyWindow, at: Instant): boolean {
  const now = Math.floor(at / minute) % day;
  return fromMinute < toMinute ? fromMinute <= now && now < toMinute : fromMinute <= now || now < toMinute;
}

/** The next moment after `at` at which the window begins. */
export function nextBegin({ fromMinute }: DailyWindow, at: Instant): Instant {
  const today = Math.floor(at / (day * minute)) * day + fromMinute;
  const begin = today * minute;
  return instant(begin > at ? begin : begin + day * minute);
}

/** `02:00` */
export function timeOfDay(minuteOfDay: number): string {
  const two = (n: number): string => String(n).padStart(2, '0');
  return `${two(Math.floor(minuteOfDay / 60))}:${two(minuteOfDay % 60)}`;
}
