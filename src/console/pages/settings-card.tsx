import { useState } from 'preact/hooks';
import type { Image } from '../../contracts/images.ts';
import type { Operation } from '../../contracts/operations.ts';
import type { PatchVm, Vm } from '../../contracts/vms.ts';
import { request } from '../api/api.ts';
import { describe } from '../api/api-error.ts';
import { LIMITS, nameProblem, numberProblem, parseLabels } from '../state/create-form.ts';
import { take, tellFailureOf } from '../state/machines.ts';
import { go } from '../state/router.ts';
import { useList } from '../state/use-loaded.ts';
import { DeleteDialog } from '../ui/delete-dialog.tsx';
import { CheckField, SelectField, TextField } from '../ui/field.tsx';
import { Icon } from '../ui/icon.tsx';
import { toast } from '../ui/toast.tsx';

const showLabels = (labels: Vm['labels']) =>
  Object.entries(labels)
    .map(([key, value]) => (value === '' ? key : `${key}=${value}`))
    .join(', ');

const formOf = (vm: Vm) => ({
  name: vm.name,
  labels: showLabels(vm.labels),
  restartPolicy: vm.restartPolicy as string,
  memoryMiB: String(vm.memoryMiB),
  engine: vm.engine.requested,
  cpu: vm.cpu,
});

/** What of a machine can be changed: some at any time, its hardware while it is stopped. */
export function SettingsCard({ vm }: { readonly vm: Vm }) {
  const [edited, setEdited] = useState<Partial<ReturnType<typeof formOf>>>({});
  const [refusal, setRefusal] = useState('');
  const [busy, setBusy] = useState(false);
  const saved = formOf(vm);
  const form = { ...saved, ...edited };
  const rests = vm.state === 'stopped' || vm.state === 'failed';
  const problems = {
    name: nameProblem(form.name),
    labels: parseLabels(form.labels).problem,
    memoryMiB: numberProblem(form.memoryMiB, ...LIMITS.memoryMiB),
  };
  const changed = (Object.keys(saved) as (keyof typeof saved)[]).filter(
    (field) => form[field] !== saved[field],
  );
  const wrong = Object.values(problems).some((problem) => problem !== undefined);
  const set = (change: typeof edited) => {
    setEdited({ ...edited, ...change });
    setRefusal('');
  };
  const save = async (event: Event) => {
    event.preventDefault();
    if (busy || wrong || changed.length === 0) return;
    setBusy(true);
    try {
      const all = { ...form, memoryMiB: Number(form.memoryMiB), labels: parseLabels(form.labels).labels };
      const body = Object.fromEntries(changed.map((field) => [field, all[field]])) as PatchVm;
      take({ vm: await request<Vm>('PATCH', `vms/${vm.id}`, { body }) });
      setEdited({});
      toast('Saved');
    } catch (error) {
      setRefusal(describe(error));
    }
    setBusy(false);
  };
  return (
    <section class="card settings" aria-labelledby="settings-title">
      <h2 id="settings-title">Settings</h2>
      <form class="stack" onSubmit={save} noValidate>
        <TextField label="Name" value={form.name} problem={problems.name} onInput={(name) => set({ name })} />
        <TextField
          label="Labels"
          placeholder="team=red, env=test"
          value={form.labels}
          problem={problems.labels}
          onInput={(labels) => set({ labels })}
        />
        <SelectField
          label="When it ends by itself"
          value={form.restartPolicy}
          onInput={(restartPolicy) => set({ restartPolicy })}
          options={[
            ['on-failure', 'Start it again after a failure'],
            ['always', 'Start it again always'],
            ['never', 'Leave it stopped'],
          ]}
        />
        <fieldset class="hardware" disabled={!rests}>
          <legend>{rests ? 'Hardware' : 'Hardware (stop it to change this)'}</legend>
          <TextField
            label="Memory"
            unit="MiB"
            disabled={!rests}
            value={form.memoryMiB}
            problem={problems.memoryMiB}
            onInput={(memoryMiB) => set({ memoryMiB })}
          />
          <SelectField
            label="Engine"
            disabled={!rests}
            value={form.engine}
            onInput={(engine) => set({ engine })}
            options={[
              ['auto', 'auto'],
              ['translate', 'translate'],
              ['interpret', 'interpret'],
              ['kvm', 'kvm'],
            ]}
          />
          <SelectField
            label="Processor"
            disabled={!rests}
            value={form.cpu}
            onInput={(cpu) => set({ cpu })}
            options={[
              ['portable', 'portable'],
              ['x86-64-v3', 'x86-64-v3'],
            ]}
          />
        </fieldset>
        <p class="problem" role="alert">
          {refusal}
        </p>
        <footer>
          <button type="button" disabled={changed.length === 0} onClick={() => setEdited({})}>
            Undo
          </button>
          <button type="submit" class="primary" disabled={changed.length === 0 || wrong || busy}>
            Save
          </button>
        </footer>
      </form>
      {vm.cdrom === null ? null : <Disc vm={vm} />}
    </section>
  );
}

function Disc({ vm }: { readonly vm: Vm }) {
  const images = useList<Image>('images?kind=iso');
  const [force, setForce] = useState(false);
  const change = async (name: string) => {
    try {
      const body = { image: name === '' ? null : name, ...(force ? { force } : {}) };
      const answer = await request<{ vm: Vm; operation: Operation }>('POST', `vms/${vm.id}/cdrom`, { body });
      tellFailureOf(answer.operation);
      take(answer);
    } catch (error) {
      toast(describe(error), 'problem');
    }
  };
  const names = new Set([
    ...(images.items ?? []).map(({ name }) => name),
    ...(vm.cdrom?.image ? [vm.cdrom.image] : []),
  ]);
  return (
    <>
      <SelectField
        label="Disc in the CD-ROM drive"
        value={vm.cdrom?.image ?? ''}
        onInput={(name) => void change(name)}
        options={[['', 'none'], ...[...names].map((name) => [name, name] as const)]}
      />
      <CheckField label="Even if the guest has locked the tray" checked={force} onInput={setForce} />
    </>
  );
}

export function DangerCard({ vm }: { readonly vm: Vm }) {
  const [asking, setAsking] = useState(false);
  const runs = vm.state !== 'stopped' && vm.state !== 'failed';
  return (
    <section class="card danger-zone" aria-labelledby="danger-title">
      <h2 id="danger-title">Danger zone</h2>
      <p>
        Deleting {vm.name} takes its own disks with it, for good.
        {runs ? ' It is not stopped: its plug is pulled first.' : ''}
      </p>
      <button
        type="button"
        class="danger"
        disabled={vm.desired === 'deleted'}
        onClick={() => setAsking(true)}
      >
        <Icon name="trash" /> Delete…
      </button>
      {asking ? (
        <DeleteDialog<{ vm: Vm; operation: Operation }>
          name={vm.name}
          path={`vms/${vm.id}?force=true`}
          warning="The machine and its own disks will be gone. Images stay."
          done="is being deleted"
          onGone={(answer) => {
            tellFailureOf(answer.operation);
            take(answer);
            go('/machines');
          }}
          onClose={() => setAsking(false)}
        />
      ) : null}
    </section>
  );
}
