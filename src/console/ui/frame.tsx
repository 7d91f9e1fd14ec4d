import type { ComponentChildren } from 'preact';
import { describe } from '../api/api-error.ts';
import { counts, link, loadError } from '../state/machines.ts';
import { isOperator, mayWrite, principal, signOut } from '../state/session.ts';
import { sending } from '../upload/uploads.ts';
import { Icon, type IconName } from './icon.tsx';
import { scheme, switchScheme } from './scheme.ts';
import { toast } from './toast.tsx';

/** What is around every page: where one can go, who one is, whether the server is there. */
export function Frame({ page, children }: { readonly page: string; readonly children: ComponentChildren }) {
  return (
    <div class="frame">
      <button type="button" class="skip" onClick={() => document.getElementById('main')?.focus()}>
        To the content
      </button>
      <aside>
        <a class="brand" href="#/machines" aria-label="Teremok, to the machines">
          <img src="/icon.svg" width="28" height="28" alt="" />
          <span>Teremok</span>
        </a>
        <nav aria-label="Pages">
          <Place page={page} to="machines" icon="house" count={counts.value.running ?? 0} countOf="running">
            Machines
          </Place>
          <Place page={page} to="images" icon="disc" count={sending.value.length} countOf="uploading">
            Images
          </Place>
          {isOperator() ? (
            <>
              <Place page={page} to="tenants" icon="people">
                Tenants
              </Place>
              <Place page={page} to="hosts" icon="server">
                Hosts
              </Place>
              <Place page={page} to="keys" icon="key">
                Keys
              </Place>
            </>
          ) : null}
        </nav>
        <Who />
      </aside>
      <div class="page">
        <Lost />
        {children}
      </div>
    </div>
  );
}

interface PlaceProps {
  readonly page: string;
  readonly to: string;
  readonly icon: IconName;
  readonly count?: number;
  readonly countOf?: string;
  readonly children: string;
}

function Place({ page, to, icon, count = 0, countOf = '', children }: PlaceProps) {
  const here = page === to || (to === 'machines' && page === 'new');
  return (
    <a href={`#/${to}`} aria-current={here ? 'page' : undefined}>
      <Icon name={icon} />
      <span>{children}</span>
      {count > 0 ? (
        <span class="count" title={`${count} ${countOf}`}>
          {count}
          <span class="visually-hidden"> {countOf}</span>
        </span>
      ) : null}
    </a>
  );
}

function Who() {
  const who = principal.value;
  if (!who) return null;
  const other = scheme.value === 'dark' ? 'light' : 'dark';
  const leave = () => signOut().catch((error) => toast(describe(error), 'problem'));
  return (
    <div class="account">
      <div class="name">
        <strong>{who.role === 'operator' ? 'Operator' : (who.tenantName ?? 'Tenant')}</strong>
        {mayWrite() ? null : <small>may look, not change</small>}
      </div>
      <button
        type="button"
        class="quiet icon"
        aria-label={`Use the ${other} scheme`}
        title={`${other} scheme`}
        onClick={switchScheme}
      >
        <Icon name={other === 'dark' ? 'moon' : 'sun'} />
      </button>
      <button type="button" class="quiet icon" aria-label="Sign out" title="Sign out" onClick={leave}>
        <Icon name="door" />
      </button>
    </div>
  );
}

/** Says so when the server is away. It lies over the page, so that nothing moves. */
function Lost() {
  const lost = link.value === 'lost';
  const problem = loadError.value;
  return (
    <div class="lost" role="status" aria-live="assertive">
      {lost ? (
        <p>
          <span class="dot" aria-hidden="true" />
          The server does not answer. What you see is how it was; this page comes back by itself.
        </p>
      ) : problem !== undefined ? (
        <p>{describe(problem)} Trying again…</p>
      ) : null}
    </div>
  );
}
