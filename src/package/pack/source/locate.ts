import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, posix, relative } from 'node:path';
import { errnoOf } from '../../../core/errno.ts';
import { logicalPath } from '../paths.ts';
import { isImportMeta, isOwnVariable, placeOf } from './places.ts';
import type { Place } from './places.ts';
import { calledName, child, children, isReference, memberName, nameOf, position, textOf, walk } from './syntax.ts';
import type { Node, Syntax } from './syntax.ts';

/** A replacement of a part of a module. */
export interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** A place in the source of a module. */
export interface Spot {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly column: number;
}

/** A path that a module derives from its own location. */
export interface PlaceUse extends Place, Spot {}

/** The parts of a module that depend on its location. */
export interface Located {
  readonly edits: readonly Edit[];
  /** The files that the module names by `new URL('./x.csv', import.meta.url)`, by their absolute paths. */
  readonly assets: ReadonlyMap<string, Uint8Array>;
  /** Named files that do not exist. */
  readonly missing: readonly (Spot & { readonly asset: string })[];
  readonly uses: readonly PlaceUse[];
}

/**
 * The code before a bundle in which `locate` edited a module: a module keeps its own place below `assets/`, so that
 * files named relative to it are found beside it.
 */
export const placeBanner: string = [
  'const cloacina$url = (place) => new URL("../assets/" + place, import.meta.url).href;',
  'const cloacina$file = (place) => process.getBuiltinModule("node:url").fileURLToPath(cloacina$url(place));',
  'const cloacina$dir = (place) => process.getBuiltinModule("node:path").dirname(cloacina$file(place));',
  'const cloacina$meta = (meta, place) => ({ ...meta, url: cloacina$url(place), filename: cloacina$file(place), dirname: cloacina$dir(place) });',
  '',
].join('\n');

const wholeMeta = 'cloacina$meta(import.meta, PLACE)';

const placeFunctions: Readonly<Record<string, string>> = {
  url: 'cloacina$url',
  filename: 'cloacina$file',
  dirname: 'cloacina$dir',
  __filename: 'cloacina$file',
  __dirname: 'cloacina$dir',
};

/** True if a module may name its own location. A module is parsed only for its text, and most have none of this. */
export function mayLocate(code: string): boolean {
  return /\bimport\s*\.\s*meta\b|\b__dirname\b|\b__filename\b/.test(code);
}

/**
 * Gives a module its own place in the package, and finds the files that it names from there. `dir` is the folder of the
 * project.
 */
export async function locate(module: Syntax, dir: string): Promise<Located> {
  const place = JSON.stringify(encodedPath(logicalPath(dir, module.file)));
  const edits: Edit[] = [];
  const uses: PlaceUse[] = [];
  const named: Node[] = [];
  walk(module.program, (node, ancestors) => {
    const edit = placeEdit(node, ancestors.at(-1), module, place);
    if (edit !== null) edits.push(edit);
    if (isAssetUrl(node, module)) named.push(node);
    else if (isUse(node, ancestors.at(-1), module)) {
      uses.push({ ...placeOf(node, module)!, file: module.file, ...position(module.code, node.start) });
    }
  });
  const assets = new Map<string, Uint8Array>();
  const missing: (Spot & { asset: string })[] = [];
  for (const node of named) {
    const { path: asset } = placeOf(node, module)!;
    const [literal] = children(node, 'arguments');
    const spot = { file: module.file, ...position(module.code, literal!.start) };
    const bytes = await readFile(asset).catch((error: unknown) => errnoOf(error) ?? 'EIO');
    if (bytes === 'EISDIR') uses.push({ path: asset, exact: true, ...spot });
    else if (typeof bytes === 'string') missing.push({ asset, ...spot });
    else {
      assets.set(asset, bytes);
      const text = movedText(textOf(literal)!, module.file, asset, dir);
      if (text !== null) edits.push({ start: literal!.start, end: literal!.end, text: JSON.stringify(text) });
    }
  }
  return { edits, assets, missing, uses };
}

function placeEdit(node: Node, parent: Node | undefined, module: Syntax, place: string): Edit | null {
  const call = (name: string): string => `/* @__PURE__ */ ${placeFunctions[name]}(${place})`;
  if (node.type === 'MemberExpression' && isImportMeta(child(node, 'object'))) {
    const name = memberName(node);
    return name === null || placeFunctions[name] === undefined ? null : { ...range(node), text: call(name) };
  }
  if (isImportMeta(node)) {
    const isMember = parent?.type === 'MemberExpression' && memberName(parent) !== null;
    return isMember ? null : { ...range(node), text: wholeMeta.replace('PLACE', () => place) };
  }
  const name = nameOf(node);
  if (name === null || !isOwnVariable(name, module) || !isReference(node, parent)) return null;
  const isShort = parent?.type === 'Property' && parent['shorthand'] === true;
  return { ...range(node), text: isShort ? `${name}: ${call(name)}` : call(name) };
}

function range({ start, end }: Node): { readonly start: number; readonly end: number } {
  return { start, end };
}

/** True for `new URL('./x.csv', import.meta.url)`, also by a constant with that URL. A folder ends in a slash. */
function isAssetUrl(node: Node, module: Syntax): boolean {
  if (node.type !== 'NewExpression' || nameOf(child(node, 'callee')) !== 'URL') return false;
  const [literal, base] = children(node, 'arguments');
  const place = placeOf(node, module);
  return textOf(literal) !== null && placeOf(base, module)?.path === module.file && place !== null && isFilePath(place);
}

function isFilePath({ path, exact }: Place): boolean {
  return exact && !/[/\\]$/.test(path);
}

const declaring = new Set(['VariableDeclarator', 'AssignmentPattern']);

/** True for the outermost expression of a place that is more than the location of the module itself. */
function isUse(node: Node, parent: Node | undefined, module: Syntax): boolean {
  const place = placeOf(node, module);
  if (place === null || (node.type === 'Identifier' && !isReference(node, parent))) return false;
  if (parent !== undefined && (declaring.has(parent.type) || isPartOfPlace(node, parent, module))) return false;
  const inside = relative(place.path, module.file);
  const isOwn = !inside.startsWith('..') && !isAbsolute(inside);
  return !place.exact || !isOwn || isRead(node, parent);
}

function isPartOfPlace(node: Node, parent: Node, module: Syntax): boolean {
  const place = placeOf(parent, module);
  return (
    place !== null &&
    (parent.type !== 'CallExpression' || children(parent, 'arguments')[0] === node || parent['callee'] === node)
  );
}

const reading = /^(readdir|readdirSync|opendir|opendirSync|glob|globSync)$/;

/** True for the first argument of a function that lists a folder. */
function isRead(node: Node, parent: Node | undefined): boolean {
  if (parent?.type !== 'CallExpression' || children(parent, 'arguments')[0] !== node) return false;
  const name = calledName(parent);
  return name !== null && reading.test(name);
}

/** Returns the text that names an asset from the place of its module, if its own text does not; otherwise null. */
function movedText(text: string, file: string, asset: string, dir: string): string | null {
  const [from, to] = [posix.dirname(logicalPath(dir, file)), logicalPath(dir, asset)];
  const [path = '', rest = ''] = text.split(/(?=[?#])(.*)/s);
  const isBeside = dirname(file) === dirname(asset) || posix.join(from, decodeURIComponent(path)) === to;
  return isBeside ? null : encodedPath(posix.relative(from, to)).replace(/^(?!\.\.\/)/, './') + rest;
}

function encodedPath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}
