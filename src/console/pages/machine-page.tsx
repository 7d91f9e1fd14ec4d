import { useRef, useState } from 'preact/hooks';
import type { Vm } from '../../contracts/vms.ts';
import { loadError, type Machine, machine, machines } from '../state/machines.ts';
import { mayWrite } from '../state/session.ts';
import { act, mayDo, type VmAction } from '../state/vm-actions.ts';
import { copy } from '../ui/copy.ts';
import { Choice } from '../ui/field.tsx';
import { lasting, mebibytes, moment } from '../ui/format.ts';
import { Icon, type IconName } from '../ui/icon.tsx';
import { Loading } from '../ui/loading.tsx';
import { StateBadge } from '../ui/state-badge.tsx';
import { ActivityCard } from './activity-card.tsx';
import { FiguresCard } from './figures-card.tsx';
import { ScreenPanel } from './screen-panel.tsx';
import { SerialPanel } from './serial-panel.tsx';
import { DangerCard, SettingsCard } from './settings-card.tsx';
import { hasScreen } from './vm-facts.ts';

export function MachinePage({ id }: { readonly id: string }) {
  const found = machine(id);
  if (machines.value === null) return <Loading error={loadError.value} what="machine" />;
  if (found === undefined) {
    return (
      <div class="empty">
        <h1>This machine is gone</h1>
        <p>
          It was deleted, or its address is wrong. <a href="#/machines">To the machines</a>
        </p>
      </div>
    );
  }
  return <Found machine={found} />;
}

function Found({ machine: shown }: { readonly machine: Machine }) {
  const vm = shown.vm.value;
  const operation = shown.operation.value;
  return (
    <>
      <header class="title machine">
        <a class="button quiet icon" href="#/machines" aria-label="To the machines">
          <Icon name="back" />
        </a>
        <h1>{vm.name}</h1>
        <span aria-live="polite">
          <StateBadge state={vm.state} />
        </span>
        {operation === null ? null : (
          <span class="doing">
            {operation.kind}
            <progress
              max={100}
              value={operation.progress > 0 ? operation.progress : undefined}
              aria-label={operation.kind}
            />
          </span>
        )}
        {mayWrite() ? <Actions vm={vm} /> : null}
      </header>
      {vm.state === 'failed' && vm.lastError !== null ? (
        <p class="failure" role="alert">
          <strong>It failed.</strong> {vm.lastError.message} <code>{vm.lastError.code}</code>
        </p>
      ) : null}
      <Facts vm={vm} />
      <Consoles vm={vm} />
      <div class="cards">
        <FiguresCard vm={vm} />
        <ActivityCard machine={shown} />
        {mayWrite() ? <SettingsCard key={vm.id} vm={vm} /> : null}
        {mayWrite() ? <DangerCard vm={vm} /> : null}
      </div>
    </>
  );
}

const ACTIONS: readonly (readonly [action: VmAction, text: string, icon: IconName])[] = [
  ['start', 'Start', 'play'],
  ['resume', 'Resume', 'play'],
  ['pause', 'Pause', 'pause'],
  ['shutdown', 'Shut down', 'power'],
  ['reset', 'Reset', 'reset'],
  ['stop', 'Stop', 'stop'],
];

function Actions({ vm }: { readonly vm: Vm }) {
  const either: VmAction = mayDo(vm, 'resume') ? 'start' : 'resume';
  return (
    <div class="actions" role="toolbar" aria-label="What to do with it">
      {ACTIONS.filter(([action]) => action !== either).map(([action, text, icon]) => (
        <button
          key={action}
          type="button"
          disabled={!mayDo(vm, action)}
          title={
            action === 'stop' ? 'Pulls the plug' : action === 'shutdown' ? 'Presses the power button' : text
          }
          onClick={() => void act(vm, action)}
        >
          <Icon name={icon} />
          <span>{text}</span>
        </button>
      ))}
    </div>
  );
}

function Facts({ vm }: { readonly vm: Vm }) {
  const facts: readonly (readonly [string, string])[] = [
    ['Boots', vm.image ?? vm.boot?.kernel ?? vm.cdrom?.image ?? vm.disks[0]?.image ?? 'its disks'],
    ['Memory', mebibytes(vm.memoryMiB)],
    ['Processor', `${vm.vcpus} × ${vm.cpu}`],
    ['Engine', vm.engine.actual ?? vm.engine.requested],
    ['Host', vm.host ?? '–'],
    [
      'Started',
      vm.startedAt === null || vm.state === 'stopped'
        ? '–'
        : `${lasting(Date.now() - Date.parse(vm.startedAt))} ago`,
    ],
    ['Created', moment(vm.createdAt)],
  ];
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
      <div>
        <dt>Id</dt>
        <dd>
          <button
            type="button"
            class="link mono"
            title="Copy the id"
            onClick={() => void copy(vm.id, 'The id')}
          >
            {vm.id.slice(0, 11)}…{vm.id.slice(-4)}
          </button>
        </dd>
      </div>
    </dl>
  );
}

type View = 'serial' | 'screen' | 'both';

function Consoles({ vm }: { readonly vm: Vm }) {
  const screen = hasScreen(vm);
  const [view, setView] = useState<View>(screen ? 'screen' : 'serial');
  const place = useRef<HTMLDivElement>(null);
  const full = () => {
    if (document.fullscreenElement !== null) void document.exitFullscreen();
    else void place.current?.requestFullscreen();
  };
  return (
    <div class={`consoles ${view}`} ref={place}>
      <div class="views">
        {screen ? (
          <Choice
            label="Show"
            value={view}
            onInput={setView}
            options={[
              ['screen', 'Screen'],
              ['serial', 'Serial'],
              ['both', 'Both'],
            ]}
          />
        ) : null}
        <small class="muted way-out">Ctrl + Shift + F6 leads out of a console</small>
        <button type="button" class="quiet" aria-label="Full screen" onClick={full}>
          <Icon name="expand" /> <span>Full screen</span>
        </button>
      </div>
      <div class="panels">
        {view === 'serial' ? null : <ScreenPanel vm={vm} />}
        {view === 'screen' ? null : <SerialPanel vm={vm} />}
      </div>
    </div>
  );
}
