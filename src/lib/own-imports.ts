import { registerHooks } from 'node:module';

/**
 * Imports of the project's own files name them as they are: Node need not look for each of them on the disk, which
 * takes a sixth of a machine's start. Holds for what this thread imports from now on.
 */
registerHooks({
  resolve(specifier, context, next) {
    const { parentURL } = context;
    if (parentURL === undefined || !/^\.\.?\/.*\.ts$/.test(specifier)) return next(specifier, context);
    return { url: new URL(specifier, parentURL).href, format: 'module-typescript', shortCircuit: true };
  },
});
