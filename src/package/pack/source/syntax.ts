/** A node of a syntax tree (ESTree), of any type. */
export interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

/** The syntax of one module. */
export interface Syntax {
  readonly file: string;
  readonly code: string;
  readonly program: Node;
  /** True for an ES module, false for a CommonJS module. */
  readonly isModule: boolean;
  /** The number of declarations of each name, in all scopes together. */
  readonly declared: ReadonlyMap<string, number>;
  /** The values of names that are declared once, in any scope, and never assigned again. */
  readonly constants: ReadonlyMap<string, Node>;
  /** The names that are assigned outside of a declaration. */
  readonly assigned: ReadonlySet<string>;
}

/** Parses a module. Null for a syntax error, which the bundler itself reports. */
export async function parseModule(code: string, file: string, lang: string): Promise<Syntax | null> {
  const { parseSync } = await import('rolldown/utils');
  const known = lang === 'ts' || lang === 'tsx' || lang === 'jsx' ? lang : 'js';
  const parsed = (['unambiguous', 'commonjs'] as const)
    .map((sourceType) => parseSync(file, code, { lang: known, sourceType }))
    .find(({ errors }) => errors.length === 0);
  if (parsed === undefined) return null;
  const program = parsed.program as unknown as Node;
  return { file, code, program, isModule: parsed.module.hasModuleSyntax, ...namesOf(program) };
}

/**
 * Calls `visit` for each node in the order of the source, with its ancestors, the nearest last. A result of false leaves
 * its children out. Without recursion: a sum of ten thousand texts is as many levels deep.
 */
export function walk(root: Node, visit: (node: Node, ancestors: readonly Node[]) => boolean | void): void {
  const ancestors: Node[] = [];
  const open: { readonly node: Node; readonly depth: number }[] = [{ node: root, depth: 0 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { node, depth } = next;
    ancestors.length = depth;
    if (visit(node, ancestors) === false) continue;
    ancestors.push(node);
    const inner = Object.values(node).flatMap((value) => (Array.isArray(value) ? (value as unknown[]) : [value]));
    for (const value of inner.toReversed()) if (isNode(value)) open.push({ node: value, depth: depth + 1 });
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof Reflect.get(value, 'type') === 'string';
}

/** Returns the node of a property, or null. */
export function child(node: Node, key: string): Node | null {
  const value = node[key];
  return isNode(value) ? value : null;
}

/** Returns the nodes of a list; holes are left out. */
export function children(node: Node, key: string): readonly Node[] {
  const value = node[key];
  return Array.isArray(value) ? value.filter(isNode) : [];
}

/** Returns the text of a string literal or of a template without expressions, or null. */
export function textOf(node: Node | null | undefined): string | null {
  if (node?.type === 'Literal' && typeof node['value'] === 'string') return node['value'];
  if (node?.type !== 'TemplateLiteral' || children(node, 'expressions').length > 0) return null;
  return quasiText(children(node, 'quasis')[0]);
}

/** Returns the text of one part of a template literal. */
export function quasiText(quasi: Node | undefined): string | null {
  const value = quasi?.['value'];
  const cooked: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, 'cooked') : null;
  return typeof cooked === 'string' ? cooked : null;
}

/** Returns the name of an identifier, or null. */
export function nameOf(node: Node | null | undefined): string | null {
  return node?.type === 'Identifier' && typeof node['name'] === 'string' ? node['name'] : null;
}

/** Returns the name of the property of `object.name` or `object['name']`, or null. */
export function memberName(node: Node): string | null {
  if (node.type !== 'MemberExpression') return null;
  const property = child(node, 'property');
  return node['computed'] === true ? textOf(property) : nameOf(property);
}

/** Returns the name of a called function, with or without an object before it, or null. */
export function calledName(node: Node): string | null {
  const callee = child(node, 'callee');
  return callee === null ? null : (nameOf(callee) ?? memberName(callee));
}

const keyed = new Set(['Property', 'MethodDefinition', 'PropertyDefinition', 'AccessorProperty']);
const naming = new Set([
  'LabeledStatement',
  'BreakStatement',
  'ContinueStatement',
  'ImportSpecifier',
  'ImportAttribute',
  'ExportSpecifier',
  'MetaProperty',
]);

/** True if an identifier stands for the value of a variable, and is not the name of a property, a label or a type. */
export function isReference(node: Node, parent: Node | undefined): boolean {
  if (parent === undefined) return false;
  if (parent.type === 'MemberExpression') return parent['object'] === node || parent['computed'] === true;
  if (keyed.has(parent.type)) return parent['key'] !== node || parent['computed'] === true;
  if (parent.type.startsWith('TS')) return parent['expression'] === node;
  return !naming.has(parent.type);
}

/** Returns the line and the column of an offset, from 1. */
export function position(code: string, offset: number): { readonly line: number; readonly column: number } {
  const before = code.slice(0, offset).split('\n');
  return { line: before.length, column: before.at(-1)!.length + 1 };
}

type Names = Pick<Syntax, 'declared' | 'constants' | 'assigned'>;

function namesOf(program: Node): Names {
  const declared = new Map<string, number>();
  const values = new Map<string, Node>();
  const assigned = new Set<string>();
  const declare = (pattern: Node | null): void => {
    for (const name of boundNames(pattern)) declared.set(name, (declared.get(name) ?? 0) + 1);
  };
  walk(program, (node) => {
    for (const pattern of patternsOf(node)) declare(pattern);
    const target = node.type === 'AssignmentExpression' ? child(node, 'left') : child(node, 'argument');
    if (node.type === 'AssignmentExpression' || node.type === 'UpdateExpression') {
      for (const name of boundNames(target)) assigned.add(name);
    }
    const [name, value] = [nameOf(child(node, 'id')), child(node, 'init')];
    if (node.type === 'VariableDeclarator' && name !== null && value !== null) values.set(name, value);
  });
  const constants = [...values].filter(([name]) => declared.get(name) === 1 && !assigned.has(name));
  return { declared, constants: new Map(constants), assigned };
}

/** The patterns in which a node declares names. */
function patternsOf(node: Node): readonly (Node | null)[] {
  switch (node.type) {
    case 'VariableDeclarator':
    case 'ClassDeclaration':
    case 'ClassExpression':
    case 'TSEnumDeclaration':
    case 'TSModuleDeclaration':
      return [child(node, 'id')];
    case 'FunctionDeclaration':
    case 'FunctionExpression':
    case 'ArrowFunctionExpression':
      return [child(node, 'id'), ...children(node, 'params')];
    case 'ImportSpecifier':
    case 'ImportDefaultSpecifier':
    case 'ImportNamespaceSpecifier':
      return [child(node, 'local')];
    case 'CatchClause':
      return [child(node, 'param')];
    default:
      return [];
  }
}

function boundNames(pattern: Node | null): readonly string[] {
  switch (pattern?.type) {
    case 'Identifier':
      return [nameOf(pattern)!];
    case 'ObjectPattern':
      return children(pattern, 'properties').flatMap((each) =>
        boundNames(child(each, each.type === 'RestElement' ? 'argument' : 'value')),
      );
    case 'ArrayPattern':
      return children(pattern, 'elements').flatMap(boundNames);
    case 'AssignmentPattern':
      return boundNames(child(pattern, 'left'));
    case 'RestElement':
      return boundNames(child(pattern, 'argument'));
    case 'TSParameterProperty':
      return boundNames(child(pattern, 'parameter'));
    default:
      return [];
  }
}
