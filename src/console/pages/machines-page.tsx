import { signal, useComputed } from '@preact/signals';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { VmState } from '../../contracts/states.ts';
import { counts, loadError, type Machine, machines } from '../state/machines.ts';
import { mayWrite } from '../state/session.ts';
import { act, actOnAll, mayDo } from '../state/vm-actions.ts';
import { matches } from '../state/vm-filter.ts';
import { mebibytes } from '../ui/format.ts';
import { Icon } from '../ui/icon.tsx';
import { Loading } from '../ui/loading.tsx';
import { PageTitle } from '../ui/page-title.tsx';
import { StateBadge } from '../ui/state-badge.tsx';
import { useVisibleRows } from '../ui/use-visible-rows.ts';

// What was searched for and chosen stays while one looks at a machine.
const search = signal('');
const stateFilter = signal<VmState | ''>('');
const chosen = signal<ReadonlySet<string>>(new Set());

const STATES: readonly VmState[] = ['running', 'starting', 'paused', 'stopping', 'stopped', 'failed'];

/** Of every machine's row, so that those which are seen can be told and no others be drawn. Pixels. */
const ROW_HEIGHT = 52;

let before: readonly Machine[] = [];

/** The machines to show: the same array while nothing has changed in it, so that a row's event draws that row alone. */
function findShown(): readonly Machine[] {
  const [all, state, words] = [machines.value ?? [], stateFilter.value, search.value.trim()];
  if (state === '' && words === '') return all;
  const found = all.filter(
    ({ vm }) => (state === '' || vm.value.state === state) && matches(vm.value, words),
  );
  if (found.length !== before.length || found.some((machine, at) => machine !== before[at])) before = found;
  return before;
}

export function MachinesPage() {
  const shown = useComputed(findShown);
  const all = machines.value;
  return (
    <>
      <PageTitle title="Machines">
        <NewMachine />
      </PageTitle>
      <Filters />
      {all === null ? (
        <Loading error={loadError.value} what="machines" />
      ) : all.length === 0 ? (
        <div class="empty">
          <h2>No machines yet</h2>
          <p>One is made in a minute: it comes to a shell in your browser.</p>
          <NewMachine />
        </div>
      ) : (
        <Table shown={shown.value} />
      )}
    </>
  );
}

function Filters() {
  return (
    <div class="filters">
      <label class="searching">
        <Icon name="search" />
        <span class="visually-hidden">Search machines</span>
        <input
          type="search"
          placeholder="Name, state, image, team=red"
          value={search.value}
          spellcheck={false}
          onInput={(event) => {
            search.value = event.currentTarget.value;
          }}
        />
      </label>
      <fieldset class="chips">
        <legend class="visually-hidden">Show only</legend>
        {STATES.map((state) => (
          <button
            key={state}
            type="button"
            class={`chip ${state}`}
            aria-pressed={stateFilter.value === state}
            disabled={counts.value[state] === undefined && stateFilter.value !== state}
            onClick={() => {
              stateFilter.value = stateFilter.value === state ? '' : state;
            }}
          >
            <span class="dot" aria-hidden="true" />
            {state} <b>{counts.value[state] ?? 0}</b>
          </button>
        ))}
      </fieldset>
    </div>
  );
}

function Table({ shown }: { readonly shown: readonly Machine[] }) {
  const picked = shown.filter(({ id }) => chosen.value.has(id));
  const body = useRef<HTMLTableSectionElement>(null);
  const { from, to } = useVisibleRows(body, ROW_HEIGHT, shown.length);
  const { kept, ...focus } = useRowFocus(body, shown);
  const rows = shown.slice(from, to).map((machine, at) => [machine, from + at] as const);
  const keptRow = shown[kept];
  if (keptRow !== undefined && kept < from) rows.unshift([keptRow, kept]);
  if (keptRow !== undefined && kept >= to) rows.push([keptRow, kept]);
  return (
    <div class={mayWrite() ? 'machines' : 'machines read-only'}>
      <table aria-label="Machines" aria-rowcount={shown.length + 1}>
        <Head shown={shown} picked={picked.length} />
        <tbody
          ref={body}
          {...focus}
          style={{ '--row-height': `${ROW_HEIGHT}px`, height: `${shown.length * ROW_HEIGHT}px` }}
        >
          {rows.map(([machine, at]) => (
            <Row key={machine.id} machine={machine} at={at} />
          ))}
        </tbody>
      </table>
      {shown.length === 0 ? <p class="none">Nothing is like that.</p> : null}
      <Bulk picked={picked} />
    </div>
  );
}

/** Where the focus is in the table, and how the keys lead it from row to row, those that are not drawn included. */
function useRowFocus(body: { readonly current: HTMLElement | null }, shown: readonly Machine[]) {
  const [focused, setFocused] = useState('');
  const wanted = useRef('');
  /** The row with the focus: it is drawn wherever one scrolls, or the focus would be lost. */
  const kept = shown.findIndex(({ id }) => id === focused);
  useLayoutEffect(() => {
    if (wanted.current === '') return;
    // It may have come into the table just now.
    body.current?.querySelector<HTMLElement>(`[data-id="${wanted.current}"] a.name`)?.focus();
    wanted.current = '';
  });
  return {
    kept,
    onFocusIn: (event: FocusEvent) => {
      setFocused((event.target as Element).closest('tr')?.dataset['id'] ?? '');
    },
    /** Arrow keys go from machine to machine, Home and End to the first and the last. */
    onKeyDown: (event: KeyboardEvent) => {
      const to = { ArrowDown: kept + 1, ArrowUp: kept - 1, Home: 0, End: shown.length - 1 }[event.key];
      const next = to === undefined ? undefined : shown[to];
      if (next === undefined || next.id === focused) return;
      event.preventDefault();
      wanted.current = next.id;
      setFocused(next.id);
    },
  };
}

function NewMachine() {
  if (!mayWrite()) return null;
  return (
    <a class="button primary" href="#/new">
      <Icon name="plus" /> New machine
    </a>
  );
}

function Head({ shown, picked }: { readonly shown: readonly Machine[]; readonly picked: number }) {
  return (
    <thead>
      <tr class="row head" aria-rowindex={1}>
        {mayWrite() ? (
          <th scope="col" class="pick">
            <input
              type="checkbox"
              aria-label="Choose all that are shown"
              checked={shown.length > 0 && picked === shown.length}
              onInput={(event) => {
                chosen.value = new Set(event.currentTarget.checked ? shown.map(({ id }) => id) : []);
              }}
            />
          </th>
        ) : null}
        <th scope="col">Name</th>
        <th scope="col">State</th>
        <th scope="col" class="boots">
          Boots
        </th>
        <th scope="col" class="size">
          Memory
        </th>
        <th scope="col" class="host">
          Host
        </th>
        <th scope="col" class="do">
          <span class="visually-hidden">Actions</span>
        </th>
      </tr>
    </thead>
  );
}

/** @param props.at its place in the list, from 0 */
function Row({ machine, at }: { readonly machine: Machine; readonly at: number }) {
  const vm = machine.vm.value;
  const operation = machine.operation.value;
  const labels = Object.entries(vm.labels);
  return (
    <tr class="row" data-id={machine.id} aria-rowindex={at + 2} style={{ top: `${at * ROW_HEIGHT}px` }}>
      {mayWrite() ? <Pick id={machine.id} name={vm.name} /> : null}
      <td class="who">
        <a class="name" href={`#/machines/${vm.id}`}>
          {vm.name}
        </a>
        {labels.length > 0 ? (
          <span class="labels">
            {labels.map(([key, value]) => (
              <button
                key={key}
                type="button"
                class="label"
                title="Show machines with this label"
                onClick={() => {
                  search.value = `${key}=${value}`;
                }}
              >
                {key}={value}
              </button>
            ))}
          </span>
        ) : null}
      </td>
      <td class="condition">
        <StateBadge state={vm.state} />
        {operation !== null ? (
          <small>
            {operation.kind}
            {operation.progress > 0 ? ` ${operation.progress} %` : ''}
          </small>
        ) : vm.state === 'failed' && vm.lastError !== null ? (
          <small class="problem" title={vm.lastError.message}>
            {vm.lastError.message}
          </small>
        ) : null}
      </td>
      <td class="boots">{bootsFrom(vm)}</td>
      <td class="size">{mebibytes(vm.memoryMiB)}</td>
      <td class="host">{vm.host ?? '–'}</td>
      <td class="do">{mayWrite() ? <RowAction machine={machine} /> : null}</td>
    </tr>
  );
}

function RowAction({ machine }: { readonly machine: Machine }) {
  const vm = machine.vm.value;
  const action = mayDo(vm, 'start') ? 'start' : mayDo(vm, 'resume') ? 'resume' : 'stop';
  return (
    <button
      type="button"
      class="quiet icon"
      disabled={!mayDo(vm, action)}
      aria-label={`${action} ${vm.name}`}
      title={action}
      onClick={() => void act(vm, action)}
    >
      <Icon name={action === 'stop' ? 'stop' : 'play'} />
    </button>
  );
}

function Pick({ id, name }: { readonly id: string; readonly name: string }) {
  const isChosen = useComputed(() => chosen.value.has(id));
  return (
    <td class="pick">
      <input
        type="checkbox"
        aria-label={`Choose ${name}`}
        checked={isChosen.value}
        onInput={(event) => {
          const next = new Set(chosen.value);
          if (event.currentTarget.checked) next.add(id);
          else next.delete(id);
          chosen.value = next;
        }}
      />
    </td>
  );
}

function Bulk({ picked }: { readonly picked: readonly Machine[] }) {
  if (picked.length === 0) return null;
  const vms = picked.map(({ vm }) => vm.value);
  return (
    <div class="bulk" role="toolbar" aria-label="What to do with the chosen machines">
      <strong>{picked.length} chosen</strong>
      {(['start', 'shutdown', 'stop'] as const).map((action) => (
        <button
          key={action}
          type="button"
          disabled={!vms.some((vm) => mayDo(vm, action))}
          onClick={() => void actOnAll(vms, action)}
        >
          {action === 'start' ? 'Start' : action === 'shutdown' ? 'Shut down' : 'Stop'}
        </button>
      ))}
      <button
        type="button"
        class="quiet"
        onClick={() => {
          chosen.value = new Set();
        }}
      >
        Choose none
      </button>
    </div>
  );
}

/** What a machine starts from, in few words. */
function bootsFrom(vm: Machine['vm']['value']): string {
  if (vm.image !== null) return vm.image;
  if (vm.boot?.kernel) return vm.boot.kernel;
  return vm.cdrom?.image ?? vm.disks[0]?.image ?? (vm.disks.length > 0 ? 'an own disk' : 'nothing');
}
