import { useCallback, useEffect, useState } from 'preact/hooks';
import { listAll, request } from '../api/api.ts';
import { link } from './machines.ts';

interface Loaded<T> {
  /** Undefined until it came once. */
  readonly value: T | undefined;
  readonly error: unknown;
  /** Loads it anew. @returns it; undefined when it did not come */
  readonly reload: () => Promise<T | undefined>;
}

/** What the API says at an address; it is loaded again when the server is back. Nothing for no address. */
function useLoaded<T>(path: string | null, load: (path: string) => Promise<T>): Loaded<T> {
  const [value, setValue] = useState<T>();
  const [error, setError] = useState<unknown>();
  const live = link.value === 'live';
  const reload = useCallback(async () => {
    if (path === null) return undefined;
    try {
      const found = await load(path);
      setValue(found);
      setError(undefined);
      return found;
    } catch (problem) {
      setError(problem);
      return undefined;
    }
  }, [path, load]);
  // It is time again when the server is back.
  useEffect(() => void reload(), [reload, live]);
  return { value, error, reload };
}

export interface LoadedList<T> {
  /** Undefined until they came once. */
  readonly items: readonly T[] | undefined;
  readonly error: unknown;
  /** Loads them anew. @returns them; none when they did not come */
  readonly reload: () => Promise<readonly T[]>;
}

/** A list of the API, as `useLoaded`. */
export function useList<T>(path: string): LoadedList<T> {
  const { value, error, reload } = useLoaded<readonly T[]>(path, listAll<T>);
  const reloadItems = useCallback(async () => (await reload()) ?? [], [reload]);
  return { items: value, error, reload: reloadItems };
}

/** One object of the API, as `useLoaded`. */
export const useObject = <T>(path: string | null): Loaded<T> => useLoaded<T>(path, getObject<T>);

const getObject = <T>(path: string): Promise<T> => request<T>('GET', path);
