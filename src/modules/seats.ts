import { Problem } from '../lib/errors.ts';

/** Requests and WebSockets of one owner that may wait for something at the same time. */
const SEATS_PER_OWNER = 256;

/** Bounds what waits: each waiter holds a connection and asks the database now and then. */
export interface Seats {
  /** Takes a seat; call the result when the wait is over. @throws {Problem} too_many_waiting */
  take(owner: string): () => void;
}

export function createSeats(perOwner = SEATS_PER_OWNER): Seats {
  const taken = new Map<string, number>();
  return {
    take(owner) {
      const count = taken.get(owner) ?? 0;
      if (count >= perOwner) {
        throw new Problem('too_many_waiting', `${count} requests and event streams of yours wait already`, {
          hint: 'let some end; one event stream tells of all virtual machines',
          headers: { 'retry-after': '5' },
        });
      }
      taken.set(owner, count + 1);
      let left = false;
      return () => {
        if (left) return;
        left = true;
        const now = (taken.get(owner) ?? 1) - 1;
        if (now > 0) taken.set(owner, now);
        else taken.delete(owner);
      };
    },
  };
}
