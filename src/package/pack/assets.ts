import { readFile } from 'node:fs/promises';
import { basename, dirname, extname, resolve } from 'node:path';
import type { ESTree } from 'rolldown/utils';
import { sha256 } from '../archive/digest.ts';

/** One `new URL('./name', import.meta.url)` in a module: the literal, and the file it names. */
interface AssetUrl {
  readonly start: number;
  readonly end: number;
  readonly file: string;
}

interface AssetModule {
  readonly code: string;
  /** Source map of the rewriting, as JSON text. */
  readonly map: string;
  readonly assets: ReadonlyMap<string, Uint8Array>;
  /** Named files that cannot be read, each with its line and column from 1. */
  readonly missing: readonly { readonly file: string; readonly line: number; readonly column: number }[];
}

/**
 * Finds the files that a module names by `new URL('./x.csv', import.meta.url)` and rewrites the paths to `assets/`
 * beside the bundle. The new name ends in a hash of name and content: two files of one name do not collide, and the
 * order in which modules are read does not matter. Null if the module names none.
 */
export async function rewriteAssets(code: string, file: string, lang: string): Promise<AssetModule | null> {
  // a module is parsed only if it contains this text, which most do not
  if (!/\bURL\b/.test(code) || !/\bimport\s*\.\s*meta\b/.test(code)) return null;
  const urls = await findUrls(code, file, lang);
  if (urls.length === 0) return null;
  const assets = new Map<string, Uint8Array>();
  const missing: { file: string; line: number; column: number }[] = [];
  const { RolldownMagicString } = await import('rolldown');
  const rewritten = new RolldownMagicString(code, { filename: file });
  for (const url of urls) {
    const bytes = await readFile(url.file).catch(() => null);
    if (bytes === null) {
      missing.push({ file: url.file, ...position(code, url.start) });
      continue;
    }
    const name = assetName(url.file, bytes);
    assets.set(`assets/${name}`, bytes);
    rewritten.overwrite(url.start, url.end, JSON.stringify(`../assets/${encodeURIComponent(name)}`));
  }
  const map = rewritten.generateMap({ source: file, hires: 'boundary' }).toString();
  return { code: rewritten.toString(), map, assets, missing };
}

function assetName(file: string, bytes: Uint8Array): string {
  const name = basename(file).normalize('NFC');
  const extension = extname(name);
  const hash = sha256(Buffer.concat([Buffer.from(`${name}\0`), bytes])).slice(0, 8);
  return `${name.slice(0, name.length - extension.length)}-${hash}${extension}`;
}

async function findUrls(code: string, file: string, lang: string): Promise<AssetUrl[]> {
  const { parseSync, Visitor } = await import('rolldown/utils');
  const parsed = parseSync(file, code, { lang: lang === 'ts' || lang === 'tsx' || lang === 'jsx' ? lang : 'js' });
  if (parsed.errors.length > 0) return []; // the bundler itself reports the syntax error
  const urls: AssetUrl[] = [];
  new Visitor({
    NewExpression(node) {
      const text = assetText(node);
      if (text === null) return;
      const [literal] = node.arguments;
      const target = targetOf(text, file);
      if (literal !== undefined && target !== null) urls.push({ start: literal.start, end: literal.end, file: target });
    },
  }).visit(parsed.program);
  return urls.toSorted((a, b) => a.start - b.start);
}

/** The text of the first argument of `new URL(text, import.meta.url)`. */
function assetText(node: ESTree.NewExpression): string | null {
  const [path, base] = node.arguments;
  if (node.callee.type !== 'Identifier' || node.callee.name !== 'URL' || node.arguments.length !== 2) return null;
  if (base?.type !== 'MemberExpression' || base.object.type !== 'MetaProperty') return null;
  if (base.property.type !== 'Identifier' || base.property.name !== 'url') return null;
  if (path?.type === 'Literal' && typeof path.value === 'string') return path.value;
  if (path?.type === 'TemplateLiteral' && path.expressions.length === 0) return path.quasis[0]?.value.cooked ?? null;
  return null;
}

/** Only a relative path to a file names an asset; full URLs, folders and absolute paths are left alone. */
function targetOf(text: string, file: string): string | null {
  const path = text.replace(/[?#].*$/s, '');
  if (path === '' || /^([a-z][a-z0-9+.-]*:|[/\\])/i.test(path) || /(^|\/)\.{0,2}$/.test(path)) return null;
  try {
    return resolve(dirname(file), decodeURIComponent(path));
  } catch {
    return null; // a stray '%' cannot be part of an encoded path
  }
}

function position(code: string, offset: number): { line: number; column: number } {
  const before = code.slice(0, offset).split('\n');
  return { line: before.length, column: before.at(-1)!.length + 1 };
}
