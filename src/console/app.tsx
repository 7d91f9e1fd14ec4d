import { useEffect, useRef } from 'preact/hooks';
import { CreatePage } from './pages/create-page.tsx';
import { HostsPage } from './pages/hosts-page.tsx';
import { ImagesPage } from './pages/images-page.tsx';
import { KeysPage } from './pages/keys-page.tsx';
import { MachinePage } from './pages/machine-page.tsx';
import { MachinesPage } from './pages/machines-page.tsx';
import { SignInPage } from './pages/sign-in-page.tsx';
import { TenantsPage } from './pages/tenants-page.tsx';
import { follow, link, unfollow } from './state/machines.ts';
import { route } from './state/router.ts';
import { isOperator, principal, restoreSession } from './state/session.ts';
import { Frame } from './ui/frame.tsx';
import { Toasts } from './ui/toast.tsx';
import { stopSending } from './upload/uploads.ts';

/** How often a server that did not answer at first is asked again. Milliseconds. */
const ASK_AGAIN_MS = 2000;

export function App() {
  const who = principal.value;
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>;
    const ask = () =>
      restoreSession().catch(() => {
        link.value = 'lost';
        timer = setTimeout(ask, ASK_AGAIN_MS);
      });
    void ask();
    return () => clearTimeout(timer);
  }, []);
  useEffect(() => {
    if (!who) return;
    follow();
    return () => {
      unfollow();
      stopSending();
    };
  }, [who]);
  return (
    <>
      {who === undefined ? <Waiting /> : who === null ? <SignInPage /> : <SignedIn />}
      <Toasts />
    </>
  );
}

function Waiting() {
  return <p class="waiting">{link.value === 'lost' ? 'The server does not answer. Trying again…' : ''}</p>;
}

function SignedIn() {
  const [page = 'machines', id] = route.value;
  const main = useRef<HTMLElement>(null);
  const place = `${page}/${id ?? ''}`;
  const before = useRef(place);
  useEffect(() => {
    if (before.current === place) return;
    before.current = place;
    // A new page begins at its top, for eyes and for screen readers.
    if (!main.current?.contains(document.activeElement)) main.current?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [place]);
  return (
    <Frame page={page}>
      <main ref={main} tabIndex={-1} id="main">
        <Page page={page} id={id} />
      </main>
    </Frame>
  );
}

function Page({ page, id }: { readonly page: string; readonly id: string | undefined }) {
  if (page === 'machines' && id === undefined) return <MachinesPage />;
  if (page === 'machines') return <MachinePage key={id} id={id as string} />;
  if (page === 'new') return <CreatePage />;
  if (page === 'images') return <ImagesPage />;
  if (isOperator()) {
    if (page === 'tenants' && id === undefined) return <TenantsPage />;
    if (page === 'tenants') return <KeysPage key={id} tenantId={id as string} />;
    if (page === 'keys') return <KeysPage key="operators" tenantId={null} />;
    if (page === 'hosts') return <HostsPage />;
  }
  return (
    <div class="empty">
      <h1>There is nothing here</h1>
      <p>
        <a href="#/machines">To the machines</a>
      </p>
    </div>
  );
}
