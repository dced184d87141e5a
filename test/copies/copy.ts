import { cpSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from '../../scripts/tool.ts';
import type * as library from '../../src/index.ts';
import { tempFolder } from '../../src/testing/engine-rig.ts';
import type { Cleanup } from '../../src/testing/engine-rig.ts';

/** Loads another copy of the library in this process, such as a bundle or a reloading dev server loads. */
export async function copyOfLibrary(t: Cleanup): Promise<typeof library> {
  const folder = tempFolder(t);
  mkdirSync(join(folder, 'copy'));
  cpSync(join(root, 'src'), join(folder, 'copy', 'src'), { recursive: true });
  cpSync(join(root, 'package.json'), join(folder, 'copy', 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'copy', 'node_modules'), 'junction');
  const entry = pathToFileURL(join(folder, 'copy', 'src', 'index.ts')).href;
  return (await import(entry)) as typeof library;
}
