import { useMemo, useState } from 'preact/hooks';
import type { Image } from '../../contracts/images.ts';
import type { Operation } from '../../contracts/operations.ts';
import type { Tenant } from '../../contracts/tenants.ts';
import type { Vm } from '../../contracts/vms.ts';
import { request } from '../api/api.ts';
import { ApiError, describe } from '../api/api-error.ts';
import { type CreateForm, emptyForm, problemsOf, toCreateVm, toCurl } from '../state/create-form.ts';
import { machines, take, tellFailureOf } from '../state/machines.ts';
import { go } from '../state/router.ts';
import { isOperator, mayWrite } from '../state/session.ts';
import { type LoadedList, useList } from '../state/use-loaded.ts';
import { copy } from '../ui/copy.ts';
import { CheckField, Choice, More, SelectField, TextField } from '../ui/field.tsx';
import { bytes } from '../ui/format.ts';
import { Icon } from '../ui/icon.tsx';
import { PageTitle } from '../ui/page-title.tsx';

const SOURCES = [
  ['image', 'Image'],
  ['iso', 'Disc (ISO)'],
  ['disk', 'Disk'],
  ['kernel', 'Kernel'],
] as const;

const ENGINES = [
  ['auto', 'The best there is'],
  ['translate', 'Binary translation'],
  ['interpret', 'Interpreter'],
  ['kvm', 'KVM'],
] as const;

type Set = (change: Partial<CreateForm>) => void;
type Problems = ReturnType<typeof problemsOf>;

interface PartProps {
  readonly form: CreateForm;
  readonly set: Set;
  /** Problems of the fields that were touched. */
  readonly shown: Problems;
}

export function CreatePage() {
  const images = useList<Image>('images');
  const [entered, setForm] = useState(() => emptyForm(freeName()));
  const [touched, setTouched] = useState<ReadonlySet<string>>(new Set());
  const [tenant, setTenant] = useState('default');
  const [refusal, setRefusal] = useState('');
  const [fromServer, setFromServer] = useState<Problems>({});
  const [busy, setBusy] = useState(false);
  const first = images.items?.find(({ kind }) => kind === 'system')?.name ?? '';
  // What boots unless something else is chosen.
  const form = useMemo(
    () => (entered.image === '' ? { ...entered, image: first } : entered),
    [entered, first],
  );
  const problems = useMemo(() => problemsOf(form), [form]);
  const loading = images.items === undefined && images.error === undefined;
  const shown = {
    ...Object.fromEntries(Object.entries(problems).filter(([field]) => touched.has(field))),
    ...fromServer,
  };
  const set: Set = (change) => {
    setForm((before) => ({ ...before, ...change }));
    setTouched((before) => new Set([...before, ...Object.keys(change)]));
    setFromServer({});
  };

  const create = async (event: Event) => {
    event.preventDefault();
    if (busy || loading) return;
    setTouched(new Set(Object.keys(form)));
    if (Object.keys(problems).length > 0) return;
    setBusy(true);
    setRefusal('');
    try {
      const answer = await request<{ vm: Vm; operation: Operation }>('POST', 'vms', {
        body: toCreateVm(form),
        ...(isOperator() ? { headers: { 'teremok-tenant': tenant } } : {}),
      });
      tellFailureOf(answer.operation);
      take(answer);
      go(`/machines/${answer.vm.id}`);
    } catch (error) {
      setRefusal(describe(error));
      if (error instanceof ApiError) setFromServer(fieldsOf(error));
      setBusy(false);
    }
  };

  if (!mayWrite()) return <p class="empty">This key may look, and not make machines.</p>;
  return (
    <>
      <PageTitle title="New machine" />
      <div class="create">
        <form onSubmit={create} class="stack card" noValidate>
          <TextField
            label="Name"
            value={form.name}
            onInput={(name) => set({ name })}
            problem={shown.name}
            autofocus
          />
          <Choice
            label="Starts from"
            value={form.source}
            options={SOURCES}
            onInput={(source) => setForm((before) => ({ ...before, source }))}
          />
          <Source form={form} set={set} shown={shown} images={images} />
          <div class="pair">
            <TextField
              label="Memory"
              unit="MiB"
              value={form.memoryMiB}
              onInput={(memoryMiB) => set({ memoryMiB })}
              problem={shown.memoryMiB}
            />
            <TextField
              label={form.source === 'disk' ? 'Second, empty disk' : 'Empty disk'}
              unit="MiB"
              placeholder="none"
              value={form.diskMiB}
              onInput={(diskMiB) => set({ diskMiB })}
              problem={shown.diskMiB}
            />
          </div>
          <Rest form={form} set={set} shown={shown} />
          {isOperator() ? <TenantField value={tenant} onInput={setTenant} /> : null}
          <p class="problem" role="alert">
            {refusal}
          </p>
          <footer>
            <a class="button" href="#/machines">
              Cancel
            </a>
            <button type="submit" class="primary" disabled={busy || loading}>
              {busy ? 'Creating…' : form.start ? 'Create and start' : 'Create'}
            </button>
          </footer>
        </form>
        <Call form={form} tenant={isOperator() ? tenant : undefined} />
      </div>
    </>
  );
}

function Source({ form, set, shown, images }: PartProps & { readonly images: LoadedList<Image> }) {
  const of = (kind: Image['kind']) =>
    (images.items ?? [])
      .filter((image) => image.kind === kind)
      .map(
        (image) =>
          [
            image.name,
            `${image.name} · ${bytes(image.sizeBytes)}${image.state === 'ready' ? '' : ` · ${image.state}`}`,
          ] as const,
      );
  const choose = (kind: Image['kind'], none: string) => {
    const found = of(kind);
    // Of systems the first is chosen already.
    if (found.length > 0) return kind === 'system' ? found : [['', 'Choose…'] as const, ...found];
    if (images.items !== undefined) return [['', none] as const];
    return [['', images.error === undefined ? 'Loading…' : 'The images could not be loaded'] as const];
  };
  switch (form.source) {
    case 'image':
      return (
        <SelectField
          label="Image"
          value={form.image}
          options={choose('system', 'There is none yet')}
          onInput={(image) => set({ image })}
          problem={shown.image}
          note="A kernel with its first file system; it comes to a shell on the serial console."
        />
      );
    case 'iso':
      return (
        <SelectField
          label="Disc"
          value={form.iso}
          options={choose('iso', 'None yet: upload one under Images')}
          onInput={(iso) => set({ iso })}
          problem={shown.iso}
          note="Boots from the CD-ROM drive, with a screen. An empty disk to install on is below."
        />
      );
    case 'disk':
      return (
        <>
          <SelectField
            label="Disk"
            value={form.diskImage}
            options={choose('disk', 'None yet: upload one under Images')}
            onInput={(diskImage) => set({ diskImage })}
            problem={shown.diskImage}
            note="The image itself stays as it is; the machine writes to a layer of its own."
          />
          <CheckField
            label="Throw away what is written when the machine stops"
            checked={form.throwAway}
            onInput={(throwAway) => set({ throwAway })}
          />
        </>
      );
    case 'kernel':
      return (
        <>
          <div class="pair">
            <TextField
              label="Kernel"
              list="kernels"
              value={form.kernel}
              onInput={(kernel) => set({ kernel })}
              problem={shown.kernel}
              note={isOperator() ? 'An image, or a path on the host' : 'An image’s name or id'}
            />
            <TextField
              label="Initrd"
              list="initrds"
              placeholder="none"
              value={form.initrd}
              onInput={(initrd) => set({ initrd })}
            />
          </div>
          <TextField
            label="Command line"
            mono
            value={form.cmdline}
            onInput={(cmdline) => set({ cmdline })}
            problem={shown.cmdline}
          />
          <datalist id="kernels">
            {of('kernel').map(([name]) => (
              <option key={name} value={name} />
            ))}
          </datalist>
          <datalist id="initrds">
            {of('initrd').map(([name]) => (
              <option key={name} value={name} />
            ))}
          </datalist>
        </>
      );
  }
}

function Rest({ form, set, shown }: PartProps) {
  return (
    <More label="Processor, engine, labels and the rest">
      <div class="pair">
        <SelectField
          label="Engine"
          value={form.engine}
          options={ENGINES}
          onInput={(engine) => set({ engine: engine as CreateForm['engine'] })}
        />
        <TextField
          label="Processors"
          value={form.vcpus}
          onInput={(vcpus) => set({ vcpus })}
          problem={shown.vcpus}
        />
      </div>
      <div class="pair">
        <SelectField
          label="Processor"
          value={form.cpu}
          options={[
            ['portable', 'portable (x86-64-v2)'],
            ['x86-64-v3', 'x86-64-v3 (AVX2, FMA)'],
          ]}
          onInput={(cpu) => set({ cpu })}
        />
        <SelectField
          label="Disks on"
          value={form.diskBus}
          options={[
            ['virtio', 'virtio (fast)'],
            ['ide', 'IDE (for old systems)'],
          ]}
          onInput={(bus) => set({ diskBus: bus as CreateForm['diskBus'] })}
        />
      </div>
      <SelectField
        label="When it ends by itself"
        value={form.restartPolicy}
        options={[
          ['on-failure', 'Start it again after a failure'],
          ['always', 'Start it again always'],
          ['never', 'Leave it stopped'],
        ]}
        onInput={(policy) => set({ restartPolicy: policy as CreateForm['restartPolicy'] })}
      />
      <TextField
        label="Labels"
        placeholder="team=red, env=test"
        value={form.labels}
        onInput={(labels) => set({ labels })}
        problem={shown.labels}
      />
      <CheckField label="Start it at once" checked={form.start} onInput={(start) => set({ start })} />
    </More>
  );
}

function TenantField({
  value,
  onInput,
}: {
  readonly value: string;
  readonly onInput: (name: string) => void;
}) {
  const tenants = useList<Tenant>('tenants');
  const names = tenants.items?.map(({ name }) => name) ?? [value];
  return (
    <SelectField
      label="Tenant"
      value={value}
      options={names.map((name) => [name, name] as const)}
      onInput={onInput}
    />
  );
}

/** The request that the form stands for. */
function Call({ form, tenant }: { readonly form: CreateForm; readonly tenant: string | undefined }) {
  const text = toCurl(location.origin, 'vms', toCreateVm(form), tenant);
  return (
    <section class="card call" aria-labelledby="call-title">
      <header>
        <h2 id="call-title">The same by REST</h2>
        <button type="button" class="quiet" onClick={() => void copy(text, 'The call')}>
          <Icon name="copy" /> Copy
        </button>
      </header>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by the keyboard */}
      <pre tabIndex={0}>{text}</pre>
    </section>
  );
}

/** What the service said of fields, where the form has them. */
function fieldsOf(error: ApiError): Problems {
  const known: Readonly<Record<string, keyof CreateForm>> = {
    '/name': 'name',
    '/memoryMiB': 'memoryMiB',
    '/vcpus': 'vcpus',
    '/labels': 'labels',
    '/boot/cmdline': 'cmdline',
  };
  const found: Problems = {};
  for (const { path, message } of error.errors) {
    const field = known[path];
    if (field !== undefined) found[field] = message;
  }
  if (error.code === 'name_taken') found.name = error.message;
  return found;
}

function freeName(): string {
  const taken = new Set(machines.value?.map(({ vm }) => vm.value.name));
  for (let n = 1; ; n++) if (!taken.has(`machine-${n}`)) return `machine-${n}`;
}
