/** The names of all public methods of a class. The compiler refuses a list with one missing or one too many. */
export type VerbNames<T> = Readonly<Record<keyof T, true>>;

type AnyVerb = (...args: unknown[]) => Promise<unknown>;

/**
 * Returns an object with the methods of `T`. The first call of one loads `T`; a load that failed is tried again by the next
 * call.
 */
export function onDemand<T extends object>(names: VerbNames<T>, load: () => Promise<T>): Pick<T, keyof T> {
  let loading: Promise<T> | undefined;
  const loaded = (): Promise<T> => {
    loading ??= load().catch((error: unknown) => {
      loading = undefined;
      throw error;
    });
    return loading;
  };
  const verb = (name: keyof T): AnyVerb => {
    return async (...args) => {
      const target = await loaded();
      return (target[name] as AnyVerb).apply(target, args);
    };
  };
  const entries = (Object.keys(names) as (keyof T)[]).map((name) => [name, verb(name)]);
  return Object.fromEntries(entries) as Pick<T, keyof T>;
}
