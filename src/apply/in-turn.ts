/** All of it, one after the other, whatever became of what came before. @returns the first failure; null: there was none */
export async function inTurn(works: readonly (() => Promise<void>)[]): Promise<{ readonly error: unknown } | null> {
  let failed: { readonly error: unknown } | null = null;
  for (const work of works) {
    try {
      await work();
    } catch (error) {
      failed ??= { error };
    }
  }
  return failed;
}
