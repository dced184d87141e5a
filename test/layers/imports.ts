import { globSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { parseAst } from 'rolldown/parseAst';

/** One import, re-export, dynamic import or imported type of a source file. */
export interface Import {
  /** A path below src/ with `/`, or the name of a package or builtin as written. */
  readonly target: string;
  /** Erased by the compiler: it says something about the design, but loads nothing. */
  readonly isType: boolean;
}

/** The imports of each file (a path below src/ with `/`). */
export type ImportMap = ReadonlyMap<string, readonly Import[]>;

/** Reads every source of a folder, without tests, which may import anything. */
export function readImports(sourceFolder: string): ImportMap {
  const files = globSync('**/*.ts', { cwd: sourceFolder })
    .map((file) => file.replaceAll('\\', '/'))
    .filter((file) => !/\.(test|soak)\.ts$/.test(file));
  return new Map(files.map((file) => [file, importsOf(file, readFileSync(join(sourceFolder, file), 'utf8'))]));
}

/** All imports in the text of one file, in order; relative ones as paths below src/. */
export function importsOf(file: string, text: string): readonly Import[] {
  const found: Import[] = [];
  visit(parseAst(text, { lang: 'ts' }), (node) => {
    const from = sourceOf(node);
    if (from === undefined) return;
    const target = from.startsWith('.') ? posix.join(posix.dirname(file), from) : from;
    found.push({ target, isType: isErased(node) });
  });
  return found;
}

/** All string literals in the text of one file, and the fixed parts of its template literals. */
export function stringsOf(text: string): readonly string[] {
  const found: string[] = [];
  visit(parseAst(text, { lang: 'ts' }), (node) => {
    const value =
      node['type'] === 'TemplateElement' ? (node['value'] as { readonly cooked?: unknown }).cooked : undefined;
    const string = node['type'] === 'Literal' ? node['value'] : value;
    if (typeof string === 'string') found.push(string);
  });
  return found;
}

type Node = Readonly<Record<string, unknown>>;

function visit(value: unknown, see: (node: Node) => void): void {
  if (Array.isArray(value)) for (const item of value) visit(item, see);
  else if (typeof value === 'object' && value !== null) {
    if ('type' in value) see(value);
    for (const child of Object.values(value)) visit(child, see);
  }
}

const importing = new Set([
  'ImportDeclaration',
  'ExportNamedDeclaration',
  'ExportAllDeclaration',
  'ImportExpression',
  'TSImportType',
]);

function sourceOf(node: Node): string | undefined {
  if (!importing.has(String(node['type']))) return undefined;
  const literal = (node['source'] ?? node['argument']) as { readonly value?: unknown } | null | undefined;
  return typeof literal?.value === 'string' ? literal.value : undefined;
}

function isErased(node: Node): boolean {
  return node['type'] === 'TSImportType' || node['importKind'] === 'type' || node['exportKind'] === 'type';
}
