import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from '../scripts/tool.ts';

interface Locked {
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
}

const about = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
};
const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
  readonly packages: Readonly<Record<string, Locked>>;
};
const packages = Object.entries(lock.packages).filter(([path]) => path !== '');

test('dependencies.md: npm ci checks the bytes of every package, on every platform', () => {
  assert.ok(packages.length > 0);
  const unchecked = packages.filter(([, { integrity }]) => !/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity ?? ''));
  assert.deepEqual(
    unchecked.map(([path]) => path),
    [],
  );
});

test('dependencies.md: the lock file names no registry but the public one of npm', () => {
  const elsewhere = packages.filter(([, { resolved }]) => {
    return resolved !== undefined && !resolved.startsWith('https://registry.npmjs.org/');
  });
  assert.deepEqual(elsewhere, []);
  assert.ok(packages.every(([, { link }]) => link !== true));
});

test('dependencies.md: its table has every dependency with its locked version', () => {
  const table = readFileSync(join(root, 'docs', 'decisions', 'dependencies.md'), 'utf8').split('\n');
  for (const name of [...Object.keys(about.dependencies), ...Object.keys(about.devDependencies)]) {
    const { version } = lock.packages[`node_modules/${name}`]!;
    const row = table.find((line) => line.split('|')[1]?.includes(`\`${name}\``) === true);
    assert.ok(row?.split('|')[2]?.includes(version!), `${name} ${version}: ${row ?? 'no row'}`);
  }
});

test('dependencies.md: tools are pinned exactly, run-time dependencies are ranges of one major version', () => {
  for (const [name, range] of Object.entries(about.devDependencies)) assert.match(range, /^\d+\.\d+\.\d+$/, name);
  for (const [name, range] of Object.entries(about.dependencies)) assert.match(range, /^\^\d+\.\d+\.\d+$/, name);
});

test('dependencies.md: workflows name actions by the hash of a commit, and have no rights but what they need', () => {
  const folder = join(root, '.github', 'workflows');
  for (const file of readdirSync(folder)) {
    const text = readFileSync(join(folder, file), 'utf8');
    const uses = text.split('\n').filter((line) => line.includes('uses:'));
    for (const line of uses) assert.match(line, /uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/, file);
    assert.match(text, /^permissions:\n {2}contents: read\n/m, file);
  }
});

test('dependencies.md: a release is published from CI with a statement of its provenance', () => {
  const text = readFileSync(join(root, '.github', 'workflows', 'publish.yml'), 'utf8');
  assert.match(text, /npm publish --provenance/);
  assert.match(text, /id-token: write/);
  assert.doesNotMatch(text, /secrets\./);
});
