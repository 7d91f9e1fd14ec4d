import { describe } from '../api/api-error.ts';

/** What stands where a list will be: quiet at first, and what is wrong when it does not come. */
export function Loading({ error, what }: { readonly error: unknown; readonly what: string }) {
  if (error === undefined || error === null) {
    return (
      <div class="loading" role="status">
        <span class="visually-hidden">Loading {what}</span>
        <i />
        <i />
        <i />
      </div>
    );
  }
  return (
    <p class="empty" role="alert">
      <strong>The {what} could not be loaded.</strong> {describe(error)}
    </p>
  );
}
