/** Options of `util.inspect`: a value on one line, bounded. */
const options = { maxArrayLength: 50, maxStringLength: 4096, breakLength: Infinity };

/**
 * Returns a value as `util.inspect` shows it, with `depth` levels of objects below it. Throws if a method of the value does. The module is loaded at the first use:
 * an import would cost a tenth of the time that `import 'cloacina'` takes.
 */
export function inspected(value: unknown, depth: number = 2): string {
  return process.getBuiltinModule('node:util').inspect(value, { ...options, depth });
}
