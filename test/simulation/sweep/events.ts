import { graceMs, sweepPolicy } from './look.ts';
import { newPod, nodeNames, tickMs, type NodeName, type PodState, type ProcessorState, type State, type Variant } from './state.ts';

type Kind = Variant['agents'][number];

/** A tick: agents beat and are answered, kubelets do what the API server wants, and its view of the nodes follows. */
export function tick(state: State, variant: Variant): void {
  state.now += tickMs;
  for (const name of nodeNames) {
    const node = state.nodes[name];
    const ready = node.api ? 'true' : 'unknown';
    if (node.ready !== ready) Object.assign(node, { ready, readySince: state.now });
  }
  state.processors.forEach((processor, i) => {
    for (const pod of processor.pods) live(state, processor, pod, variant.agents[i] ?? 'deaf');
    processor.pods = processor.pods.filter((pod) => pod.wanted || !kubeletHears(state, pod) || !isOver(state, pod));
  });
}

function kubeletHears(state: State, { node }: PodState): boolean {
  return node === 'managed' || state.nodes[node].api;
}

function reachesDory(state: State, { node }: PodState): boolean {
  return state.intakeSince !== null && (node === 'managed' || state.nodes[node].dory);
}

/** It had its grace to stop, and all of it is taken: the worst that is allowed. */
function isOver(state: State, { stoppingSince }: PodState): boolean {
  return stoppingSince !== null && state.now - stoppingSince > graceMs;
}

function live(state: State, processor: ProcessorState, pod: PodState, kind: Kind): void {
  if (!pod.wanted && kubeletHears(state, pod)) pod.stoppingSince ??= state.now;
  if (reachesDory(state, pod)) beat(state, processor, pod, kind);
  const leaseOver = kind === 'fenced' && (pod.leasedAt === null || state.now - pod.leasedAt > sweepPolicy.lease + graceMs);
  pod.writing = !isOver(state, pod) && !leaseOver;
}

function beat(state: State, processor: ProcessorState, pod: PodState, kind: Kind): void {
  if (pod.node !== 'managed') state.nodes[pod.node].beat = state.now;
  const { row } = processor;
  if (pod.epoch !== row?.epoch) {
    if (kind !== 'deaf') pod.stoppingSince ??= state.now;
    return;
  }
  const same = processor.beat?.epoch === pod.epoch ? processor.beat : null;
  if (row.phase === 'stopping') {
    const acknowledged = kind !== 'deaf' && isOver(state, pod) ? (same?.acknowledged ?? state.now) : null;
    processor.beat = { epoch: pod.epoch, at: state.now, lease: kind === 'fenced' ? (same?.lease ?? null) : null, acknowledged };
    if (kind !== 'deaf') pod.stoppingSince ??= state.now;
    return;
  }
  // It may go on, or start again; unless its kubelet is about to end it.
  if (pod.wanted) pod.stoppingSince = null;
  if (kind === 'fenced') pod.leasedAt = state.now;
  processor.beat = { epoch: pod.epoch, at: state.now, lease: kind === 'fenced' ? state.now + sweepPolicy.lease : null, acknowledged: null };
}

/** The GitOps tool applies what Git shows. */
export function apply(state: State): void {
  for (const processor of state.processors) {
    processor.applied = processor.head;
    const { head } = processor;
    for (const pod of processor.pods) pod.wanted = head?.phase === 'active' && head.epoch === pod.epoch;
    if (head?.phase === 'active' && !processor.pods.some(({ epoch }) => epoch === head.epoch)) {
      processor.pods.push(newPod(head));
    }
  }
}

/** What may fail, and be repaired again. Only failing is counted. */
type Link = `${NodeName}.dory` | `${NodeName}.api`;
export type Fault = NodeName | Link | 'git' | 'watch' | 'intake';
/** A node by its name: both of its links at once. */
export const faults: readonly Fault[] = ['a', 'b', 'a.dory', 'a.api', 'b.dory', 'b.api', 'git', 'watch', 'intake'];

/** @returns false if it can't be: nothing more may fail, or only one of the two links is there to fail or be repaired. */
export function toggle(state: State, fault: Fault): boolean {
  const up = isUp(state, fault);
  if ((fault === 'a' || fault === 'b') && state.nodes[fault].dory !== state.nodes[fault].api) return false;
  if (up && state.faultsLeft === 0) return false;
  if (up) state.faultsLeft -= 1;
  if (fault === 'git') state.git = !up;
  else if (fault === 'watch') state.watch = !up;
  else if (fault === 'intake') state.intakeSince = up ? null : state.now;
  else if (fault === 'a' || fault === 'b') Object.assign(state.nodes[fault], { dory: !up, api: !up });
  else {
    const { node, link } = linkOf(fault);
    state.nodes[node][link] = !up;
  }
  return true;
}

function isUp(state: State, fault: Fault): boolean {
  if (fault === 'git') return state.git;
  if (fault === 'watch') return state.watch;
  if (fault === 'intake') return state.intakeSince !== null;
  if (fault === 'a' || fault === 'b') return state.nodes[fault].dory;
  const { node, link } = linkOf(fault);
  return state.nodes[node][link];
}

function linkOf(fault: Link): { readonly node: NodeName; readonly link: 'dory' | 'api' } {
  const [node, link] = fault.split('.') as [NodeName, 'dory' | 'api'];
  return { node, link };
}

export function heal(state: State): void {
  for (const fault of faults) if (!isUp(state, fault)) toggle(state, fault);
}
