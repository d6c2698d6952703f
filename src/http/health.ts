/**
 * Whether this instance takes requests. That it is alive needs no more proof than an answer.
 *
 * A database that is away makes nobody unready: it is away for all instances as a rule, and then a Service without one that is ready would
 * refuse the agents, who are to be told to continue. What is wrong with it `dory_component_healthy` says. An instance that alone
 * is cut off ends each connection with the answer to a beat that it could not store, so that the next one arrives elsewhere.
 */
export interface Health {
  readonly ready: boolean;
  /** From now on not ready: requests go to another instance, those under way end. */
  shutDown(): void;
}

export function createHealth(): Health {
  let shuttingDown = false;
  return {
    get ready() {
      return !shuttingDown;
    },
    shutDown: () => {
      shuttingDown = true;
    },
  };
}
