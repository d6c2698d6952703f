/** A credential on its way from the database to the cluster. Whatever prints, logs or serialises it by mistake shows nothing of it. */
export class Concealed {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** For the one place that sends it, and the one that compares it. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return '[concealed]';
  }

  toJSON(): string {
    return '[concealed]';
  }
}

/** The credentials of one Secret, by its keys. */
export type Credentials = ReadonlyMap<string, Concealed>;
