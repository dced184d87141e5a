import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import type { Edit } from './locate.ts';
import { child, children, memberName, nameOf, textOf, walk } from './syntax.ts';
import type { Node, Syntax } from './syntax.ts';

/** Files that are imported as text without an attribute. */
export const textTypes: Readonly<Record<string, 'text'>> = Object.fromEntries(
  ['txt', 'sql', 'html', 'md', 'csv', 'graphql', 'gql'].map((extension) => [`.${extension}`, 'text']),
);

const codeTypes = ['', '.js', '.mjs', '.cjs', '.jsx', '.ts', '.mts', '.cts', '.tsx', '.json', '.node'];
const known = new Set([...codeTypes, ...Object.keys(textTypes)]);

/** The end of the id of a module that is imported as text or bytes. */
const suffix = /\?cloacina=(text|bytes)$/;

export function mayAttribute(code: string): boolean {
  return /\bwith\b[^;]*\btype\b/.test(code);
}

/** Marks the imports with `{ type: 'text' }` and `{ type: 'bytes' }`; any other attribute is the bundler's. */
export function attributeEdits({ code, program }: Syntax): readonly Edit[] {
  const edits: Edit[] = [];
  walk(program, (node) => {
    const source = child(node, 'source');
    const name = textOf(source);
    const type = attributeType(node);
    if (source === null || name === null || (type !== 'text' && type !== 'bytes')) return;
    edits.push({ start: source.start, end: source.end, text: JSON.stringify(`${name}?cloacina=${type}`) });
    edits.push({ start: source.end, end: attributesEnd(node, code), text: '' });
  });
  return edits;
}

function attributeType(node: Node): string | null {
  if (node.type === 'ImportExpression') return textOf(valueAt(valueAt(child(node, 'options'), 'with'), 'type'));
  const attribute = children(node, 'attributes').find((each) => keyOf(each) === 'type');
  return attribute === undefined ? null : textOf(child(attribute, 'value'));
}

/** The value of a property of an object literal. */
function valueAt(node: Node | null, key: string): Node | null {
  if (node?.type !== 'ObjectExpression') return null;
  const property = children(node, 'properties').find((each) => keyOf(each) === key);
  return property === undefined ? null : child(property, 'value');
}

function keyOf(node: Node): string | null {
  const key = child(node, 'key');
  return nameOf(key) ?? textOf(key) ?? memberName(node);
}

function attributesEnd(node: Node, code: string): number {
  const options = child(node, 'options');
  if (options !== null) return options.end;
  return code.indexOf('}', children(node, 'attributes').at(-1)!.end) + 1;
}

/** The specifier of an import as text or bytes without its mark, and the mark; null for any other import. */
export function markedImport(specifier: string): { readonly name: string; readonly mark: string } | null {
  const mark = suffix.exec(specifier)?.[0];
  return mark === undefined ? null : { name: specifier.slice(0, -mark.length), mark };
}

/** The code of a module that is imported as text or bytes. */
export async function mediaModule(file: string, mark: string): Promise<string> {
  const bytes = await readFile(file);
  if (mark.endsWith('text')) return `export default ${JSON.stringify(new TextDecoder().decode(bytes))};\n`;
  return `export default new Uint8Array(Buffer.from("${bytes.toString('base64')}", "base64"));\n`;
}

/** Returns the reason for which a file cannot be imported as it is; null if it has a loader. */
export function loaderFault(file: string): string | null {
  const extension = extname(file);
  if (known.has(extension.toLowerCase())) return null;
  return `there is no loader for ${extension}; import it with { type: 'text' } or { type: 'bytes' }`;
}
