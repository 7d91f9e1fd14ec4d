import { useCallback, useEffect, useState } from 'preact/hooks';
import { listAll } from '../api/api.ts';
import { link } from './machines.ts';

export interface Loaded<T> {
  /** Undefined until it came once. */
  readonly items: readonly T[] | undefined;
  readonly error: unknown;
  /** Loads it anew. @returns the items; none when they did not come */
  readonly reload: () => Promise<readonly T[]>;
}

/** A list of the API; it is loaded again when the server is back. */
export function useList<T>(path: string): Loaded<T> {
  const [items, setItems] = useState<readonly T[]>();
  const [error, setError] = useState<unknown>();
  const live = link.value === 'live';
  const reload = useCallback(async () => {
    try {
      const found = await listAll<T>(path);
      setItems(found);
      setError(undefined);
      return found;
    } catch (problem) {
      setError(problem);
      return [];
    }
  }, [path]);
  // It is time again when the server is back.
  useEffect(() => void reload(), [reload, live]);
  return { items, error, reload };
}
