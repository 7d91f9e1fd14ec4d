import { useEffect, useState } from 'preact/hooks';
import type { EventHistory, EventMessage } from '../../contracts/events.ts';
import type { Operation } from '../../contracts/operations.ts';
import { request } from '../api/api.ts';
import { link, type Machine } from '../state/machines.ts';
import { clock, moment } from '../ui/format.ts';

/** What has happened to a machine: operations with how they ended, and changes of its state. */
export function ActivityCard({ machine }: { readonly machine: Machine }) {
  const [past, setPast] = useState<readonly EventMessage[]>([]);
  const live = link.value === 'live';
  useEffect(() => {
    if (!live) return;
    request<EventHistory>('GET', `events/history?vmId=${machine.id}&limit=50`).then(
      ({ items }) => setPast(items),
      () => {},
    );
  }, [machine.id, live]);
  const entries = toEntries([...machine.events.value, ...past]);
  return (
    <section class="card activity" aria-labelledby="activity-title">
      <h2 id="activity-title">Activity</h2>
      {entries.length === 0 ? <p class="muted">Nothing has happened in the last week.</p> : null}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by the keyboard */}
      <ol tabIndex={0} aria-label="What has happened, newest first">
        {entries.map((entry) => (
          <li key={entry.key} class={entry.tone}>
            <span class="dot" aria-hidden="true" />
            <div>
              <strong>{entry.what}</strong> {entry.detail}
            </div>
            <time dateTime={entry.at} title={moment(entry.at)}>
              {clock(entry.at)}
            </time>
          </li>
        ))}
      </ol>
    </section>
  );
}

interface Entry {
  readonly key: string;
  readonly at: string;
  readonly what: string;
  readonly detail: string;
  readonly tone: 'good' | 'bad' | 'busy' | 'plain';
}

const MOST = 60;

/** Newest first; of an operation only how it is now. */
function toEntries(events: readonly EventMessage[]): Entry[] {
  const seen = new Set<string>();
  const entries: Entry[] = [];
  for (const event of [...events].sort((a, b) => (BigInt(a.seq) < BigInt(b.seq) ? 1 : -1))) {
    const entry = toEntry(event);
    if (entry === undefined || seen.has(entry.key)) continue;
    seen.add(entry.key);
    entries.push(entry);
  }
  return entries.slice(0, MOST);
}

function toEntry({ seq, type, data, createdAt: at }: EventMessage): Entry | undefined {
  const { operation, state, error } = data as {
    operation?: Operation;
    state?: string;
    error?: { message: string };
  };
  if (operation !== undefined) {
    const { kind } = operation;
    const detail = {
      queued: 'waits',
      running: operation.progress > 0 ? `is at ${operation.progress} %` : 'is under way',
      succeeded: 'is done',
      failed: `failed: ${operation.error?.message ?? 'it is not known why'}`,
      cancelled: operation.error?.message ?? 'was cancelled',
    }[operation.state];
    const tone = {
      queued: 'busy',
      running: 'busy',
      succeeded: 'good',
      failed: 'bad',
      cancelled: 'plain',
    } as const;
    return { key: operation.id, at, what: kind, detail, tone: tone[operation.state] };
  }
  if (type === 'vm.state' && state !== undefined)
    return { key: seq, at, what: state, detail: '', tone: state === 'failed' ? 'bad' : 'plain' };
  if (type === 'vm.failed')
    return { key: seq, at, what: 'failed', detail: error?.message ?? '', tone: 'bad' };
  return type === 'vm.created' ? { key: seq, at, what: 'created', detail: '', tone: 'plain' } : undefined;
}
