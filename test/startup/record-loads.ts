import { writeFileSync } from 'node:fs';
import { registerHooks } from 'node:module';

// Preloaded with `--import`: writes the URLs of all modules that the process loaded into LOADED_FILE when it exits.
const urls = new Set<string>();
registerHooks({
  load: (url, context, next) => {
    urls.add(url);
    return next(url, context);
  },
});
process.on('exit', () => writeFileSync(process.env['LOADED_FILE']!, JSON.stringify([...urls])));
