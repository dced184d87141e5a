#!/usr/bin/env node
// Any Node since 12.20 can parse this file, so that a Node that is too old is told so in one line.
// Nothing of the rest is imported before that check, and a test keeps the version beside `engines` in package.json.
import { existsSync } from 'fs';

const needed = [24, 15];
const [major, minor] = process.versions.node.split('.').map(Number);

if (major < needed[0] || (major === needed[0] && minor < needed[1])) {
  process.stderr.write(
    `cloacina needs Node ${needed.join('.')} or newer, but this is Node ${process.versions.node}: install a newer version from https://nodejs.org and run the command again.\n`,
  );
  process.exitCode = 2;
} else {
  // A checkout runs its sources: what `npm run build` left behind may be older. A published package has no src folder.
  const isCheckout = existsSync(new URL('../src/cli/main.ts', import.meta.url));
  const load = (name) =>
    import(new URL(isCheckout ? `../src/cli/${name}.ts` : `../dist/cli/${name}.js`, import.meta.url).href);
  // A rejection stays unhandled by intent: main() reports every error that it knows, and any other one is a bug whose stack is wanted.
  void load('compile-cache')
    .then((cache) => cache.keepCompiledCode())
    .then(() => load('main'))
    .then((cli) => cli.main(process.argv.slice(2)));
}
