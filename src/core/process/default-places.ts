// In core, so that the library and the CLI use the same places and `--help` needs not load the engine.

/** The default database URL, relative to the working folder. */
export const defaultDatabase = 'sqlite:./.cloacina/cloacina.db';
/** The default registry URL, relative to the working folder. */
export const defaultRegistry = 'file:./.cloacina/packages';
