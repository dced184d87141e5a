// Loaded by `node --import` before a script of a document, so that the package resolves to the sources of this
// checkout.
import { registerHooks } from 'node:module';

registerHooks({
  resolve(specifier, context, next) {
    const entry = /^cloacina(?:\/(\w+))?$/.exec(specifier);
    if (entry === null) return next(specifier, context);
    return next(new URL(`../../src/${entry[1] ?? 'index'}.ts`, import.meta.url).href, context);
  },
});
