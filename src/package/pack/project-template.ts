import { packageFileName } from '../archive/manifest.ts';

const firstVersion = '1.0.0';

/**
 * Returns the files of a new project by path, with `/`. The workflow has the name of the package, so two of them do not
 * clash. `dependency`: range of `cloacina`.
 */
export function projectTemplate(name: string, dependency: string): ReadonlyMap<string, string> {
  const workflowName = workflowNameOf(name);
  return new Map([
    ['package.json', packageJson(name, dependency)],
    ['tsconfig.json', tsconfig],
    ['src/index.ts', indexSource(workflowName)],
    ['README.md', readme(name, workflowName)],
  ]);
}

/** `@shop/daily-load` -> `daily_load`. */
function workflowNameOf(name: string): string {
  return name.replace(/^.*\//, '').replaceAll(/[-.]/g, '_');
}

function packageJson(name: string, dependency: string): string {
  const json = {
    name,
    version: firstVersion,
    description: 'Counts the words of a text.',
    private: true,
    type: 'module',
    scripts: { pack: 'cloacina package pack .' },
    devDependencies: { cloacina: dependency },
    cloacina: { entry: 'src/index.ts' },
  };
  return `${JSON.stringify(json, null, 2)}\n`;
}

const tsconfig = `{
  "compilerOptions": {
    "target": "es2024",
    "module": "nodenext",
    "strict": true,
    "noEmit": true,
    "skipLibCheck": true,
    "allowImportingTsExtensions": true,
    "erasableSyntaxOnly": true,
    "verbatimModuleSyntax": true
  },
  "include": ["src"]
}
`;

function indexSource(workflowName: string): string {
  return `import { unchecked, workflow } from 'cloacina';

interface Input {
  readonly text?: string;
}

const sample = 'the thread is spun, the thread is measured, the thread is cut';

const flow = workflow('${workflowName}', {
  description: 'Counts the words of a text.',
  // to validate the input, pass a schema of zod, valibot or arktype
  input: unchecked<Input | null | undefined>(),
});

const split = flow.task('split', ({ input }) => {
  const words = (input?.text ?? sample).toLowerCase().match(/[\\p{L}\\p{N}']+/gu);
  return { words: [...(words ?? [])] };
});

const count = flow.task('count', { needs: { split } }, ({ needs }) => {
  const counts: { [word: string]: number } = Object.create(null);
  for (const word of needs.split.words) counts[word] = (counts[word] ?? 0) + 1;
  return { counts };
});

const report = flow.task('report', { needs: { split, count }, retry: { attempts: 3 } }, ({ needs, log }) => {
  const ranked = Object.entries(needs.count.counts).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  const top = ranked.slice(0, 3).map(([word, times]) => ({ word, times }));
  log.info('counted', { words: needs.split.words.length });
  return { words: needs.split.words.length, distinct: ranked.length, top };
});

export default flow.returns(report);
`;
}

function readme(name: string, workflowName: string): string {
  return `# ${name}

A workflow of three tasks: \`split\` -> \`count\` -> \`report\`.

\`\`\`sh
npx cloacina package pack .
npx cloacina package register ${packageFileName(name, firstVersion)}
npx cloacina workflow run ${workflowName} --input '{ "text": "one two two" }'
\`\`\`

A version never changes: raise the version in \`package.json\` before you register a change.
\`npm install\` adds types for your editor. Packing does not need it.
`;
}
