import Type, { type Static } from 'typebox';

/** The state a VM was last seen in by its worker. */
export const VmState = Type.Union(
  [
    Type.Literal('stopped'),
    Type.Literal('starting'),
    Type.Literal('running'),
    Type.Literal('paused'),
    Type.Literal('stopping'),
    Type.Literal('failed'),
  ],
  { description: 'What the VM was last seen to be.' },
);
export type VmState = Static<typeof VmState>;

/** What the owner of a VM asked for. */
export type DesiredState = 'running' | 'paused' | 'stopped' | 'deleted';

export const OperationState = Type.Union([
  Type.Literal('queued'),
  Type.Literal('running'),
  Type.Literal('succeeded'),
  Type.Literal('failed'),
  Type.Literal('cancelled'),
]);
export type OperationState = Static<typeof OperationState>;

export const OperationKind = Type.Union([
  Type.Literal('create'),
  Type.Literal('start'),
  Type.Literal('shutdown'),
  Type.Literal('stop'),
  Type.Literal('reset'),
  Type.Literal('pause'),
  Type.Literal('resume'),
  Type.Literal('cdrom'),
  Type.Literal('delete'),
]);
export type OperationKind = Static<typeof OperationKind>;

/** Whether a VM whose process ended by itself is started again (with back-off; see reconcile.ts). */
export const RestartPolicy = Type.Union(
  [Type.Literal('never'), Type.Literal('on-failure'), Type.Literal('always')],
  {
    description:
      'Whether a VM that ends by itself is started again. Power-off by the guest is not a failure.',
  },
);
export type RestartPolicy = Static<typeof RestartPolicy>;

/** An error kept with a VM or an operation. `code` is stable; `message` is for people. */
export const StoredError = Type.Object(
  {
    code: Type.String(),
    message: Type.String(),
    at: Type.Optional(Type.String({ format: 'date-time' })),
  },
  { additionalProperties: true },
);
export type StoredError = Static<typeof StoredError>;
