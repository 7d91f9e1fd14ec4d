import { useState } from 'preact/hooks';
import type { Key, NewKey, Tenant } from '../../contracts/tenants.ts';
import { request } from '../api/api.ts';
import { describe } from '../api/api-error.ts';
import { mayWrite } from '../state/session.ts';
import { useList } from '../state/use-loaded.ts';
import { copy } from '../ui/copy.ts';
import { DeleteDialog } from '../ui/delete-dialog.tsx';
import { Dialog, DialogEnd } from '../ui/dialog.tsx';
import { Choice, TextField } from '../ui/field.tsx';
import { moment } from '../ui/format.ts';
import { Icon } from '../ui/icon.tsx';
import { ListTable } from '../ui/list-table.tsx';
import { Loading } from '../ui/loading.tsx';
import { PageTitle } from '../ui/page-title.tsx';

const COLUMNS = [
  { title: 'Name' },
  { title: 'May' },
  { title: 'Made', kind: 'optional' },
  { title: 'Ends' },
] as const;

/** Keys of one tenant or, without one, of operators. */
export function KeysPage({ tenantId }: { readonly tenantId: string | null }) {
  const path = tenantId === null ? 'keys' : `tenants/${tenantId}/keys`;
  const keys = useList<Key>(path);
  const tenants = useList<Tenant>('tenants');
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<NewKey | null>(null);
  const [revoking, setRevoking] = useState<Key | null>(null);
  const owner = tenants.items?.find(({ id }) => id === tenantId)?.name;
  const writes = mayWrite();
  return (
    <>
      <PageTitle
        title={tenantId === null ? 'Operators’ keys' : `Keys of ${owner ?? '…'}`}
        back={tenantId === null ? undefined : { to: 'tenants', label: 'To the tenants' }}
        action={{ icon: 'plus', text: 'New key', onClick: () => setMaking(true) }}
      />
      {keys.items === undefined ? (
        <Loading error={keys.error} what="keys" />
      ) : (
        <ListTable label="Keys" columns={COLUMNS}>
          {keys.items.map((key) => (
            <tr key={key.id} class={key.revokedAt === null ? '' : 'over'}>
              <td>
                <strong>{key.name}</strong>
              </td>
              <td data-label="may">{key.scopes.includes('write') ? 'do all' : 'look'}</td>
              <td class="optional nowrap">{moment(key.createdAt)}</td>
              <td data-label={key.revokedAt === null ? 'ends' : undefined} class="nowrap">
                {key.revokedAt === null
                  ? key.expiresAt === null
                    ? 'never'
                    : moment(key.expiresAt)
                  : 'revoked'}
              </td>
              <td class="do">
                {writes && key.revokedAt === null ? (
                  <button
                    type="button"
                    class="quiet"
                    aria-label={`Revoke ${key.name}`}
                    onClick={() => setRevoking(key)}
                  >
                    Revoke
                  </button>
                ) : null}
              </td>
            </tr>
          ))}
        </ListTable>
      )}
      {making ? (
        <Make
          path={path}
          onClose={() => setMaking(false)}
          onMade={(key) => {
            setMaking(false);
            setMade(key);
            void keys.reload();
          }}
        />
      ) : null}
      {made === null ? null : (
        <Dialog title="Your new key" onClose={() => setMade(null)}>
          <div class="stack">
            <p>This is the only time it is shown. Keep it where others cannot see it.</p>
            <p class="secret mono">{made.key}</p>
            <footer>
              <button type="button" class="primary" onClick={() => void copy(made.key, 'The key')}>
                <Icon name="copy" /> Copy
              </button>
              <button type="button" onClick={() => setMade(null)}>
                I have it
              </button>
            </footer>
          </div>
        </Dialog>
      )}
      {revoking === null ? null : (
        <DeleteDialog
          verb="Revoke"
          name={revoking.name}
          path={`${path}/${revoking.id}`}
          warning="Whoever uses it is refused from now on. This cannot be undone."
          done="is revoked"
          onGone={keys.reload}
          onClose={() => setRevoking(null)}
        />
      )}
    </>
  );
}

function Make(props: {
  readonly path: string;
  readonly onClose: () => void;
  readonly onMade: (key: NewKey) => void;
}) {
  const [name, setName] = useState('');
  const [access, setAccess] = useState<'full' | 'read'>('full');
  const [until, setUntil] = useState('');
  const [refusal, setRefusal] = useState('');
  const make = async (event: Event) => {
    event.preventDefault();
    const body = {
      ...(name === '' ? {} : { name }),
      ...(access === 'read' ? { scopes: ['read'] } : {}),
      ...(until === '' ? {} : { expiresAt: new Date(`${until}T23:59:59`).toISOString() }),
    };
    try {
      props.onMade(await request<NewKey>('POST', props.path, { body }));
    } catch (error) {
      setRefusal(describe(error));
    }
  };
  return (
    <Dialog title="New key" onClose={props.onClose}>
      <form class="stack" onSubmit={make}>
        <TextField
          label="Name"
          value={name}
          onInput={setName}
          placeholder="who or what it is for"
          autofocus
        />
        <Choice
          label="It may"
          value={access}
          onInput={setAccess}
          options={[
            ['full', 'do all'],
            ['read', 'only look'],
          ]}
        />
        <TextField
          label="Until"
          type="date"
          value={until}
          onInput={setUntil}
          note="Empty: until it is revoked."
        />
        <DialogEnd refusal={refusal} onCancel={props.onClose} submit="Make it" />
      </form>
    </Dialog>
  );
}
