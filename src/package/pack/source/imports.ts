import { ownRequires, requireText } from './requires.ts';
import { child, children, memberName, position, textOf, walk } from './syntax.ts';
import type { Node, Syntax } from './syntax.ts';

/** An import or a `require` of a literal name. */
export interface Import {
  readonly name: string;
  readonly kind: 'import-statement' | 'dynamic-import' | 'require-call';
  readonly line: number;
  readonly column: number;
  /** True if the module goes on without what it imports: in a `try`, or before `.catch(...)`. */
  readonly guarded: boolean;
  /** True inside of a function: it is imported when that function is called, or never. */
  readonly lazy: boolean;
}

/** Lists the imports of a module. */
export function importsOf(module: Syntax): readonly Import[] {
  const found: Import[] = [];
  const own = ownRequires(module);
  walk(module.program, (node, ancestors) => {
    const [kind, source] = importOf(node, module, own);
    const name = textOf(source);
    if (kind === null || source === null || name === null) return;
    const place = { ...position(module.code, source.start), lazy: ancestors.some(isFunction) };
    found.push({ name, kind, ...place, guarded: isGuarded(node, ancestors) });
  });
  return found;
}

function importOf(node: Node, module: Syntax, own: ReadonlySet<string>): readonly [Import['kind'] | null, Node | null] {
  const callee = child(node, 'callee');
  switch (node.type) {
    case 'ImportDeclaration':
    case 'ExportNamedDeclaration':
    case 'ExportAllDeclaration':
      return ['import-statement', child(node, 'source')];
    case 'ImportExpression':
      return ['dynamic-import', child(node, 'source')];
    case 'TSExternalModuleReference':
      return ['require-call', child(node, 'expression')];
    case 'CallExpression':
      if (callee === null || requireText(callee, own, module) === null) return [null, null];
      return ['require-call', children(node, 'arguments')[0] ?? null];
    default:
      return [null, null];
  }
}

function isFunction({ type }: Node): boolean {
  return type === 'FunctionDeclaration' || type === 'FunctionExpression' || type === 'ArrowFunctionExpression';
}

function isGuarded(node: Node, ancestors: readonly Node[]): boolean {
  const parent = ancestors.at(-1);
  if (parent?.type === 'MemberExpression' && memberName(parent) === 'catch') return true;
  const path = [...ancestors, node];
  return path.some(
    (each, at) => each.type === 'TryStatement' && each['handler'] !== null && each['block'] === path[at + 1],
  );
}
