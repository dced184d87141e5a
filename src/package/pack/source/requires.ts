import { placeOf } from './places.ts';
import type { Edit } from './locate.ts';
import { calledName, child, children, isReference, nameOf, position, textOf, walk } from './syntax.ts';
import type { Node, Syntax } from './syntax.ts';

/** A call that loads a module by a name that is known only when the code runs. */
export interface OpenCall {
  readonly text: string;
  readonly line: number;
  readonly column: number;
}

export interface Requires {
  readonly edits: readonly Edit[];
  readonly open: readonly OpenCall[];
  /** The names that lead to no module. */
  readonly unresolved: readonly string[];
}

const renamed = 'cloacina$require';

export function mayRequire(code: string): boolean {
  return /\bcreateRequire\b/.test(code);
}

/** True if a module may load another one by a computed name. */
export function mayLoad(code: string): boolean {
  return /\brequire\b|\bimport\s*\(/.test(code);
}

/**
 * Lets the bundler follow `createRequire(import.meta.url)('x')`: it follows only calls of a `require` that the module
 * does not declare. A name that `resolves` refuses stays a call that fails when it runs.
 */
export async function followRequires(module: Syntax, resolves: (name: string) => Promise<boolean>): Promise<Requires> {
  const own = ownRequires(module);
  const calls: { readonly callee: Node; readonly name: string }[] = [];
  const open: OpenCall[] = [];
  walk(module.program, (node) => {
    const callee = node.type === 'CallExpression' ? child(node, 'callee') : null;
    const called = callee === null ? null : requireText(callee, own, module);
    if (callee === null || called === null) {
      if (node.type === 'ImportExpression' && isOpen(child(node, 'source'), module))
        open.push(openCall('import', node, module));
      return;
    }
    const [argument] = children(node, 'arguments');
    const name = textOf(argument);
    if (name !== null) calls.push({ callee, name });
    else if (isOpen(argument ?? null, module)) open.push(openCall(called, node, module));
  });
  const followed = new Set<Node>();
  const unresolved: string[] = [];
  for (const { callee, name } of calls) {
    const isFree = nameOf(callee) === 'require' && !own.has('require');
    if (isFree) continue; // the bundler sees it
    if (await resolves(name)) followed.add(callee);
    else unresolved.push(name);
  }
  return { edits: followed.size === 0 ? [] : edits(module, own, followed), open, unresolved };
}

/** The constants with the value `createRequire(...)` of the module's own location. */
export function ownRequires(module: Syntax): ReadonlySet<string> {
  return new Set([...module.constants].filter(([, value]) => isOwnRequire(value, module)).map(([name]) => name));
}

function isOwnRequire(node: Node, module: Syntax): boolean {
  if (node.type !== 'CallExpression' || calledName(node) !== 'createRequire') return false;
  const place = placeOf(children(node, 'arguments')[0], module);
  return place?.exact === true && place.path === module.file;
}

/** Returns the text of a callee that loads modules; null for any other one. `own`: see `ownRequires`. */
export function requireText(callee: Node, own: ReadonlySet<string>, module: Syntax): string | null {
  const name = nameOf(callee);
  if (name !== null) return own.has(name) || (name === 'require' && !module.declared.has(name)) ? name : null;
  return isOwnRequire(callee, module) ? 'createRequire(...)' : null;
}

function isOpen(argument: Node | null, module: Syntax): boolean {
  if (argument === null || textOf(argument) !== null) return false;
  // a place is reported as one
  return placeOf(argument, module) === null;
}

function openCall(callee: string, node: Node, { code }: Syntax): OpenCall {
  const argument = child(node, 'source') ?? children(node, 'arguments')[0]!;
  return { text: `${callee}(${code.slice(argument.start, argument.end)})`, ...position(code, node.start) };
}

/** The followed calls become calls of `require`; a variable of that name gets another one. */
function edits(module: Syntax, own: ReadonlySet<string>, followed: ReadonlySet<Node>): readonly Edit[] {
  const hides = own.has('require');
  if (module.declared.has('require') && !hides) return [];
  const found: Edit[] = [];
  let isExported = false;
  walk(module.program, (node, ancestors) => {
    const { start, end } = node;
    if (followed.has(node)) {
      if (nameOf(node) !== 'require') found.push({ start, end, text: 'require' });
      return false;
    }
    if (!hides || nameOf(node) !== 'require') return undefined;
    const parent = ancestors.at(-1);
    isExported ||= isExportedName(ancestors);
    if (parent?.type === 'ExportSpecifier' && parent['local'] === node) {
      const isSame = child(parent, 'exported')?.start === start;
      found.push({ start, end, text: isSame ? `${renamed} as require` : renamed });
    }
    if (isReference(node, parent))
      found.push({ start, end, text: isShorthand(parent) ? `require: ${renamed}` : renamed });
    return undefined;
  });
  // an exported variable keeps its name, and hides the bundler's `require`
  return isExported ? [] : found;
}

/** True within `export const require = ...`. */
function isExportedName(ancestors: readonly Node[]): boolean {
  return ancestors.at(-1)?.type === 'VariableDeclarator' && ancestors.at(-3)?.type === 'ExportNamedDeclaration';
}

function isShorthand(parent: Node | undefined): boolean {
  return parent?.type === 'Property' && parent['shorthand'] === true;
}
