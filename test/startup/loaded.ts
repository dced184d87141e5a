import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { runProgram } from '../docs/steps.ts';

/** The modules that a process loaded. */
export interface Loaded {
  /** Paths below the folder of the library, with `/`. */
  readonly files: readonly string[];
  /** Names of npm packages. */
  readonly packages: readonly string[];
  /** Builtins that modules imported, such as `node:fs`. */
  readonly builtins: readonly string[];
}

const recorder = new URL('record-loads.ts', import.meta.url).href;

/**
 * Runs code in a process of its own and returns the modules that it loaded, in order. `folder` is the folder of the library,
 * sources or build, and `entry` its file that the code gets as `cloacina`.
 */
export async function loadedBy(folder: string, entry: string, code: string): Promise<Loaded> {
  const place = mkdtempSync(join(tmpdir(), 'cloacina-startup-'));
  try {
    const file = join(place, 'loaded.json');
    const script = `const cloacina = await import(${JSON.stringify(pathToFileURL(join(folder, entry)).href)});\n${code}`;
    const args = ['--import', recorder, '--input-type=module', '--eval', script];
    const ran = await runProgram(process.execPath, args, place, { ...process.env, LOADED_FILE: file });
    assert.equal(ran.exitCode, 0, ran.output);
    return sorted(folder, JSON.parse(readFileSync(file, 'utf8')) as readonly string[]);
  } finally {
    rmSync(place, { recursive: true, force: true, maxRetries: 5 });
  }
}

function sorted(folder: string, urls: readonly string[]): Loaded {
  const files: string[] = [];
  const packages = new Set<string>();
  const builtins: string[] = [];
  const base = `${pathToFileURL(folder).href}/`;
  for (const url of urls) {
    const name = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1];
    if (url.startsWith('node:')) builtins.push(url);
    else if (url.startsWith(base))
      files.push(
        fileURLToPath(url)
          .slice(folder.length + 1)
          .replaceAll('\\', '/'),
      );
    else if (name !== undefined) packages.add(name);
  }
  return { files, packages: [...packages], builtins };
}
