import { dirname, isAbsolute, join, resolve, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { calledName, child, children, memberName, nameOf, quasiText, textOf } from './syntax.ts';
import type { Node, Syntax } from './syntax.ts';

/** A path that code derives from the location of its module. */
export interface Place {
  /** Absolute; a trailing separator is kept. */
  readonly path: string;
  /** False if a part is known only when the code runs; `path` is the part before it. */
  readonly exact: boolean;
}

/** Aliases of aliases beyond this depth are not followed. */
const maxDepth = 20;

const wrappers: Readonly<Record<string, string>> = {
  ParenthesizedExpression: 'expression',
  TSAsExpression: 'expression',
  TSSatisfiesExpression: 'expression',
  TSNonNullExpression: 'expression',
  ChainExpression: 'expression',
};

/**
 * Returns the place that an expression names: `import.meta.url`, `__dirname`, what is joined to them, and constants with
 * such values; null for any other expression.
 */
export function placeOf(node: Node | null | undefined, module: Syntax, depth = 0): Place | null {
  if (node === null || node === undefined || depth > maxDepth) return null;
  const inner = (key: string): Place | null => placeOf(child(node, key), module, depth + 1);
  switch (node.type) {
    case 'Identifier':
      return ofName(nameOf(node)!, module, depth);
    case 'MemberExpression':
      return ofMember(node, module) ?? (keepsPlace(memberName(node)) ? inner('object') : null);
    case 'BinaryExpression':
      return node['operator'] === '+' ? appended(inner('left'), [textOf(child(node, 'right'))], module) : null;
    case 'TemplateLiteral':
      return ofTemplate(node, module, depth);
    case 'NewExpression':
      return ofUrl(node, module, depth);
    case 'CallExpression':
      return ofCall(node, module, depth);
    default:
      return wrappers[node.type] === undefined ? null : inner(wrappers[node.type]!);
  }
}

/** True for `import.meta`. */
export function isImportMeta(node: Node | null): boolean {
  return node?.type === 'MetaProperty' && nameOf(child(node, 'property')) === 'meta';
}

/** True for a name that a CommonJS module has without declaring it. */
export function isOwnVariable(name: string, module: Syntax): boolean {
  const isKnown = name === '__dirname' || name === '__filename';
  return isKnown && !module.isModule && !module.declared.has(name) && !module.assigned.has(name);
}

function exactly(path: string): Place {
  return { path, exact: true };
}

function ofName(name: string, module: Syntax, depth: number): Place | null {
  if (isOwnVariable(name, module)) return exactly(name === '__dirname' ? dirname(module.file) : module.file);
  return placeOf(module.constants.get(name), module, depth + 1);
}

function ofMember(node: Node, { file }: Syntax): Place | null {
  if (!isImportMeta(child(node, 'object'))) return null;
  const name = memberName(node);
  if (name === 'dirname') return exactly(dirname(file));
  return name === 'url' || name === 'filename' ? exactly(file) : null;
}

/** Members of a URL or a text that are the same place. */
function keepsPlace(name: string | null): boolean {
  return name === 'href' || name === 'pathname';
}

function ofTemplate(node: Node, module: Syntax, depth: number): Place | null {
  const [first, ...rest] = children(node, 'quasis');
  if (quasiText(first) !== '') return null;
  const [place, ...values] = children(node, 'expressions');
  const parts = rest
    .flatMap((quasi, at) => [quasiText(quasi), textOf(values[at])])
    .slice(0, rest.length + values.length);
  return appended(placeOf(place, module, depth + 1), parts, module);
}

function ofUrl(node: Node, module: Syntax, depth: number): Place | null {
  if (nameOf(child(node, 'callee')) !== 'URL') return null;
  const [path, base] = children(node, 'arguments');
  if (base === undefined) return placeOf(path, module, depth + 1);
  const from = placeOf(base, module, depth + 1);
  const text = textOf(path);
  if (text !== null && !isRelative(text)) return null;
  // before an unknown name, the folder of the base is known
  return extended(text === null && from !== null ? { ...from, path: folderOf(from.path) } : from, [text], resolved);
}

/** A URL with a scheme, or an absolute path, does not depend on its base. */
function isRelative(text: string): boolean {
  return text !== '' && !/^([a-z][a-z0-9+.-]*:|[/\\])/i.test(text);
}

function ofCall(node: Node, module: Syntax, depth: number): Place | null {
  const [first, ...rest] = children(node, 'arguments');
  const callee = child(node, 'callee');
  const inner = (argument: Node | null | undefined): Place | null => placeOf(argument, module, depth + 1);
  switch (calledName(node)) {
    case 'fileURLToPath':
    case 'pathToFileURL':
    case 'String':
    case 'normalize':
    case 'realpathSync':
      return inner(first);
    case 'toString':
      return callee === null ? null : inner(child(callee, 'object'));
    case 'dirname': {
      const place = inner(first);
      return place?.exact === true ? exactly(dirname(place.path)) : place;
    }
    case 'join':
    case 'resolve': {
      const parts = rest.map(textOf);
      return parts.some((part) => part !== null && isAbsolute(part)) ? null : extended(inner(first), parts, joined);
    }
    default:
      return null;
  }
}

function extended(
  place: Place | null,
  parts: readonly (string | null)[],
  extend: (path: string, part: string) => string | null,
): Place | null {
  let at = place;
  for (const part of parts) {
    if (at === null || !at.exact) return at;
    const path = part === null ? at.path : extend(at.path, part);
    at = path === null ? null : { path, exact: part !== null };
  }
  return at;
}

/** A text with an unknown part right behind the location of the module is seldom a path. */
function appended(place: Place | null, parts: readonly (string | null)[], { file }: Syntax): Place | null {
  const found = extended(place, parts, (path, part) => (/^[?#]/.test(part) ? path : resolvedKept(path + part)));
  return found?.exact === false && (found.path === file || found.path === dirname(file)) ? null : found;
}

function joined(path: string, part: string): string {
  return join(path, part);
}

function resolved(path: string, part: string): string | null {
  try {
    return fileURLToPath(new URL(part.replace(/[?#].*$/s, ''), pathToFileURL(path)));
  } catch {
    return null; // an encoded slash, or a stray '%'
  }
}

function resolvedKept(path: string): string {
  const plain = resolve(path);
  return /[/\\]$/.test(path) && !plain.endsWith(sep) ? plain + sep : plain;
}

function folderOf(path: string): string {
  return /[/\\]$/.test(path) ? path : dirname(path);
}
