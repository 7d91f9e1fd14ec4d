import { Ajv, type Options } from 'ajv';
import addFormats from 'ajv-formats';
import type { App } from '../modules/http.ts';

/**
 * Bodies are taken as they are: no field is dropped, no type is guessed. Query strings and path parameters are
 * text by nature, so there a number may be read from its digits.
 */
export function registerValidation(app: App): void {
  const bodies = createAjv({ coerceTypes: false });
  const texts = createAjv({ coerceTypes: true });
  app.setValidatorCompiler(({ schema, httpPart }) =>
    (httpPart === 'body' ? bodies : texts).compile(schema as object),
  );
}

function createAjv(options: Options): Ajv {
  // allErrors would let one large body make the server collect errors without end.
  const ajv = new Ajv({
    removeAdditional: false,
    useDefaults: true,
    allErrors: false,
    strict: false,
    ...options,
  });
  // Its default export is the function itself under every loader, which its types do not say for ESM.
  const add = addFormats as unknown as (target: Ajv) => void;
  add(ajv);
  return ajv;
}
