import { stringsOf } from './imports.ts';
import type { Import, ImportMap } from './imports.ts';

/**
 * The rooms that a room may import besides itself. A name ending in `.ts` is that one file, any other a folder of src/.
 */
type Room = {
  readonly values: readonly string[];
  /** Rooms that it may also import, as types only. */
  readonly types?: readonly string[];
};

const wiring = ['open.ts', 'run.ts', 'wire.ts', 'on-demand.ts', 'options.ts'];
const engineAndBelow = ['core', 'store', 'engine'];
const belowWiring = [...engineAndBelow, 'package', 'schedule'];

/** The layers of ARCHITECTURE.md, lowest first. */
const rooms: Readonly<Record<string, Room>> = {
  core: { values: [] },
  'own-files.ts': { values: ['core'] },
  store: { values: ['core', 'own-files.ts'] },
  engine: { values: ['core', 'store/store.ts', 'store/transition.ts'] },
  package: { values: [...engineAndBelow, 'own-files.ts'] },
  schedule: { values: engineAndBelow },
  wiring: { values: belowWiring },
  server: { values: [...belowWiring, ...wiring] },
  // runs in browsers too: it loads only the parts of lower layers that need no Node
  client: { values: ['core', 'server/contract.ts'], types: belowWiring },
  cli: { values: ['own-files.ts', ...belowWiring, ...wiring, 'server', 'client'] },
  testing: { values: ['own-files.ts', ...belowWiring, ...wiring] },
  entry: { values: [...belowWiring, ...wiring, 'server', 'client', 'testing'] },
};

const entries = ['index.ts', 'testing.ts', 'server.ts', 'client.ts'];

/** Builtins by which a file could reach a disk, a clock, a network or its process. */
const impureBuiltins =
  /^node:(fs|fs\/promises|net|tls|dgram|dns|http|http2|https|child_process|worker_threads|cluster|timers|timers\/promises|sqlite|os|process|perf_hooks|readline|inspector)$/;

const refusedWords = new Set([
  'util',
  'utils',
  // `helper` is a role: a runner that runs attempts of another
  'helpers',
  'common',
  'types',
  'manager',
  'managers',
  'service',
  'services',
]);

/** Imports against the direction of the layers, one sentence each. */
export function wrongDirections(map: ImportMap): readonly string[] {
  return [...map].flatMap(([file, imports]) =>
    imports.flatMap((each) => {
      const why = refusal(file, each);
      return why === undefined ? [] : [`src/${file} imports ${each.target}: ${why}`];
    }),
  );
}

function refusal(file: string, { target, isType }: Import): string | undefined {
  const from = roomOf(file);
  const room = rooms[from];
  if (room === undefined) return `${from} is no layer`;
  if (!target.endsWith('.ts')) return refusedPackage(from, target);
  if (target.startsWith('../')) return 'it lies outside src/';
  const to = roomOf(target);
  if (to === 'entry') return 'that file is for users; import what it re-exports';
  const allowed = isType ? [...room.values, ...(room.types ?? [])] : room.values;
  if (to === from || allowed.some((name) => target === name || target.startsWith(`${name}/`))) return undefined;
  return `${from} may import ${allowed.length === 0 ? 'nothing but itself' : allowed.join(', ')}`;
}

function refusedPackage(from: string, target: string): string | undefined {
  if (target === 'cloacina' || target.startsWith('cloacina/')) return 'inside, import the file itself';
  if (target.startsWith('.')) return 'a relative import ends in .ts';
  if (from === 'core' && impureBuiltins.test(target)) return 'core has no I/O, no clock and no process';
  return undefined;
}

function roomOf(file: string): string {
  const folder = file.split('/', 1)[0] ?? file;
  if (folder !== file) return folder;
  return entries.includes(file) ? 'entry' : wiring.includes(file) ? 'wiring' : file;
}

/** Every cycle once, as the files along it, beginning with the alphabetically first. Types count too. */
export function cycles(map: ImportMap): readonly (readonly string[])[] {
  const found = new Map<string, readonly string[]>();
  const done = new Set<string>();
  const walk = (file: string, path: readonly string[]): void => {
    const at = path.indexOf(file);
    if (at >= 0) {
      const cycle = startingAtSmallest(path.slice(at));
      found.set(cycle.join(' '), cycle);
    } else if (!done.has(file)) {
      for (const { target } of map.get(file) ?? []) if (map.has(target)) walk(target, [...path, file]);
      done.add(file);
    }
  };
  for (const file of map.keys()) walk(file, []);
  return [...found.values()];
}

function startingAtSmallest(cycle: readonly string[]): readonly string[] {
  const at = cycle.indexOf(cycle.toSorted()[0] ?? '');
  return [...cycle.slice(at), ...cycle.slice(0, at)];
}

/** Files and folders whose name says nothing about their role. */
export function namelessFiles(files: Iterable<string>): readonly string[] {
  return [...files].filter((file) => file.split(/[/.-]/).some((word) => refusedWords.has(word)));
}

/** Entry files with another statement than re-exports and comments. */
export function busyEntries(texts: ReadonlyMap<string, string>): readonly string[] {
  return entries.filter((file) => {
    const text = (texts.get(file) ?? '').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    return text.replaceAll(/export\s+(type\s+)?(\*(\s+as\s+\w+)?|\{[^}]*\})\s+from\s+'[^']+';/g, '').trim() !== '';
  });
}

const commentsAndStrings = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|\/\*[\s\S]*?\*\/|\/\/.*$/gm;
const impureCall =
  /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\b|\bset(Timeout|Interval|Immediate)\(|\bperformance\.|\bprocess\.(?!getBuiltinModule\()|\brandomUUID\b|\bfetch\(/;

/** Files of core that read the clock or draw a random number, whatever they import. A pure builtin may be loaded late. */
export function impureFiles(texts: ReadonlyMap<string, string>): readonly string[] {
  return [...texts].flatMap(([file, text]) => {
    const call = file.startsWith('core/') ? impureCall.exec(text.replaceAll(commentsAndStrings, '')) : null;
    return call === null ? [] : [`src/${file} uses ${call[0]}`];
  });
}

/** Files that use their own location: the build moves every module but one to another place. */
export function selfLocating(texts: ReadonlyMap<string, string>): readonly string[] {
  return [...texts].flatMap(([file, text]) => {
    const isUsed = /\bimport\.meta\b/.test(text.replaceAll(commentsAndStrings, ''));
    return isUsed && file !== 'own-files.ts' ? [`src/${file} uses import.meta: see own-files.ts`] : [];
  });
}

const classOfRealm =
  /\binstanceof ((Aggregate|Range|Reference|Syntax|Type|URI)?Error|Date|Promise|Object|Array|Function|Map|Set|RegExp|\w+\d+Array|ArrayBuffer)\b/g;

/** Files that compare a value with a class of the language, which is another one in another realm. */
export function boundToRealm(texts: ReadonlyMap<string, string>): readonly string[] {
  return [...texts].flatMap(([file, text]) => {
    if (file === 'core/foreign/realms.ts' || /\.(test|soak)\.ts$/.test(file)) return [];
    const found = text.replaceAll(commentsAndStrings, '').match(classOfRealm) ?? [];
    return found.map((each) => `src/${file} uses ${each}: see core/foreign/realms.ts`);
  });
}

const statement =
  /^\s*(select\s.+\sfrom\s|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|with\s+(recursive\s+)?\w+(\([^)]*\))?\s+as\s*\()/is;
const lockClause = /\bfor\s+(no\s+key\s+)?(update|share)\b|\bfor\s+key\s+share\b|\bskip\s+locked\b/i;

/** Files outside of the store with a statement or a lock clause in a string; fixtures of tests may write rows. */
export function sqlOutsideStore(texts: ReadonlyMap<string, string>): readonly string[] {
  return [...texts].flatMap(([file, text]) => {
    if (file.startsWith('store/') || file.startsWith('testing/')) return [];
    const found = stringsOf(text).filter((string) => statement.test(string) || lockClause.test(string));
    return found.map((string) => `src/${file} has SQL: ${string.trim().slice(0, 60)}`);
  });
}
