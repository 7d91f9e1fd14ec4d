import { useState } from 'preact/hooks';
import type { Tenant } from '../../contracts/tenants.ts';
import { request } from '../api/api.ts';
import { describe } from '../api/api-error.ts';
import { nameProblem, numberProblem } from '../state/create-form.ts';
import { mayWrite } from '../state/session.ts';
import { useList } from '../state/use-loaded.ts';
import { DeleteDialog } from '../ui/delete-dialog.tsx';
import { Dialog, DialogEnd } from '../ui/dialog.tsx';
import { TextField } from '../ui/field.tsx';
import { mebibytes } from '../ui/format.ts';
import { Icon } from '../ui/icon.tsx';
import { Loading } from '../ui/loading.tsx';
import { PageTitle } from '../ui/page-title.tsx';
import { Share } from '../ui/share.tsx';

const QUOTAS = [
  ['vms', 'Machines', (count: number) => String(count)],
  ['memoryMiB', 'Memory', mebibytes],
  ['diskMiB', 'Disks', mebibytes],
  ['imageMiB', 'Images', mebibytes],
] as const;

export function TenantsPage() {
  const tenants = useList<Tenant>('tenants');
  const [editing, setEditing] = useState<Tenant | 'new' | null>(null);
  const [removing, setRemoving] = useState<Tenant | null>(null);
  const writes = mayWrite();
  return (
    <>
      <PageTitle
        title="Tenants"
        action={{ icon: 'plus', text: 'New tenant', onClick: () => setEditing('new') }}
      />
      {tenants.items === undefined ? (
        <Loading error={tenants.error} what="tenants" />
      ) : (
        <div class="tiles">
          {tenants.items.map((tenant) => (
            <section key={tenant.id} class="card" aria-label={tenant.name}>
              <header>
                <h2>{tenant.name}</h2>
                <a class="button quiet" href={`#/tenants/${tenant.id}`}>
                  <Icon name="key" /> Keys
                </a>
              </header>
              {QUOTAS.map(([field, text, format]) => (
                <Share
                  key={field}
                  label={text}
                  used={tenant.usage[field]}
                  of={tenant.quotas[field]}
                  format={format}
                />
              ))}
              {writes ? (
                <footer>
                  <button type="button" onClick={() => setEditing(tenant)}>
                    Change…
                  </button>
                  <button
                    type="button"
                    class="quiet icon"
                    aria-label={`Delete ${tenant.name}`}
                    title="Delete"
                    onClick={() => setRemoving(tenant)}
                  >
                    <Icon name="trash" />
                  </button>
                </footer>
              ) : null}
            </section>
          ))}
        </div>
      )}
      {editing === null ? null : (
        <Edit
          tenant={editing === 'new' ? undefined : editing}
          onClose={() => setEditing(null)}
          onSaved={() => {
            setEditing(null);
            void tenants.reload();
          }}
        />
      )}
      {removing === null ? null : (
        <DeleteDialog
          name={removing.name}
          path={`tenants/${removing.id}`}
          warning="Its keys stop working and its images are gone. A tenant that has machines is not deleted."
          onGone={tenants.reload}
          onClose={() => setRemoving(null)}
        />
      )}
    </>
  );
}

function Edit(props: {
  readonly tenant: Tenant | undefined;
  readonly onClose: () => void;
  readonly onSaved: () => void;
}) {
  const { tenant } = props;
  const [name, setName] = useState(tenant?.name ?? '');
  const [quotas, setQuotas] = useState<Record<string, string>>(() =>
    Object.fromEntries(
      QUOTAS.map(([field]) => [field, tenant === undefined ? '' : String(tenant.quotas[field])]),
    ),
  );
  const [refusal, setRefusal] = useState('');
  const problems = Object.fromEntries(
    QUOTAS.map(([field]) => {
      const text = quotas[field] ?? '';
      return [field, text === '' && tenant === undefined ? undefined : numberProblem(text, 0, 2_000_000_000)];
    }),
  );
  const wrong =
    nameProblem(name) !== undefined || Object.values(problems).some((problem) => problem !== undefined);
  const save = async (event: Event) => {
    event.preventDefault();
    if (wrong) return;
    const given = Object.entries(quotas).filter(([, text]) => text !== '');
    const body = { name, quotas: Object.fromEntries(given.map(([field, text]) => [field, Number(text)])) };
    try {
      if (tenant === undefined) await request('POST', 'tenants', { body });
      else await request('PATCH', `tenants/${tenant.id}`, { body });
      props.onSaved();
    } catch (error) {
      setRefusal(describe(error));
    }
  };
  return (
    <Dialog title={tenant === undefined ? 'New tenant' : `Change ${tenant.name}`} onClose={props.onClose}>
      <form class="stack" onSubmit={save} noValidate>
        <TextField
          label="Name"
          value={name}
          onInput={setName}
          problem={name === '' ? undefined : nameProblem(name)}
          autofocus
        />
        <div class="pair">
          {QUOTAS.map(([field, text]) => (
            <TextField
              key={field}
              label={`${text}, at most`}
              {...(field === 'vms' ? {} : { unit: 'MiB' })}
              placeholder="as usual"
              value={quotas[field] ?? ''}
              problem={problems[field]}
              onInput={(value) => setQuotas({ ...quotas, [field]: value })}
            />
          ))}
        </div>
        <DialogEnd
          refusal={refusal}
          onCancel={props.onClose}
          submit={tenant === undefined ? 'Make it' : 'Save'}
          disabled={wrong}
        />
      </form>
    </Dialog>
  );
}
