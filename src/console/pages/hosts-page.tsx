import { useEffect } from 'preact/hooks';
import type { Host } from '../../contracts/tenants.ts';
import { useList } from '../state/use-loaded.ts';
import { lasting, mebibytes } from '../ui/format.ts';
import { Loading } from '../ui/loading.tsx';
import { PageTitle } from '../ui/page-title.tsx';
import { Share } from '../ui/share.tsx';

/** Hosts tell of themselves by heartbeats, not by events. Milliseconds. */
const LOOK_MS = 5000;

export function HostsPage() {
  const { items, error, reload } = useList<Host>('hosts');
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) void reload();
    }, LOOK_MS);
    return () => clearInterval(timer);
  }, [reload]);
  return (
    <>
      <PageTitle title="Hosts" />
      {items === undefined ? (
        <Loading error={error} what="hosts" />
      ) : items.length === 0 ? (
        <p class="empty">No worker has registered yet.</p>
      ) : (
        <div class="tiles">
          {items.map((host) => (
            <HostCard key={host.id} host={host} />
          ))}
        </div>
      )}
    </>
  );
}

function HostCard({ host }: { readonly host: Host }) {
  const { memoryMiB, vcpus, queue, lastHeartbeatAt } = host;
  return (
    <section class="card" aria-label={host.name}>
      <header>
        <h2>{host.name}</h2>
        <span
          class={`state ${host.state === 'up' ? 'running' : host.state === 'draining' ? 'paused' : 'failed'}`}
        >
          <span class="dot" aria-hidden="true" />
          {host.state}
        </span>
      </header>
      <p class="engines">
        {host.engines.map((engine) => (
          <span key={engine} class="label">
            {engine}
          </span>
        ))}
      </p>
      <Share label="Memory" used={memoryMiB.reserved} of={memoryMiB.total} format={mebibytes} />
      <Share label="Processors" used={vcpus.reserved} of={vcpus.total} format={String} />
      <dl class="facts">
        <div>
          <dt>Jobs</dt>
          <dd>{queue === null ? 'not known' : `${queue.waiting} waiting, ${queue.active} at work`}</dd>
        </div>
        <div>
          <dt>Heard of</dt>
          <dd>
            {lastHeartbeatAt === null ? 'never' : `${lasting(Date.now() - Date.parse(lastHeartbeatAt))} ago`}
          </dd>
        </div>
        <div>
          <dt>Version</dt>
          <dd>{host.version ?? '–'}</dd>
        </div>
      </dl>
    </section>
  );
}
