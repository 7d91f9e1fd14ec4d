import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Problem } from '../../lib/errors.ts';
import { planAction, type VmAction } from './vms.transitions.ts';

const ACTIONS: VmAction[] = ['start', 'shutdown', 'stop', 'reset', 'pause', 'resume'];
const STATES = ['stopped', 'starting', 'running', 'paused', 'stopping', 'failed'];

const facts = (desired: string, state: string, shutdown = false) => ({
  id: 'vm_x',
  desired,
  state,
  bootEpoch: 3,
  shutdownRequestedAt: shutdown ? new Date() : null,
  reserved: desired !== 'stopped',
});

test('every action on a VM in every condition is a plan or a conflict, never anything else', () => {
  for (const desired of ['running', 'paused', 'stopped', 'deleted']) {
    for (const state of STATES) {
      for (const action of ACTIONS) {
        for (const shutdown of [false, true]) {
          try {
            const plan = planAction(facts(desired, state, shutdown), action);
            assert.notEqual(desired, 'deleted');
            if (plan.done && plan.change.state === undefined && plan.target !== 'stopped')
              assert.equal(plan.target, state);
          } catch (err) {
            assert.ok(
              err instanceof Problem && err.status === 409,
              `${action} of ${desired}/${state}: ${err}`,
            );
          }
        }
      }
    }
  }
});

test('stop is always allowed, whatever the VM does', () => {
  for (const desired of ['running', 'paused', 'stopped']) {
    for (const state of STATES)
      assert.equal(planAction(facts(desired, state, true), 'stop').target, 'stopped');
  }
});

test('a failed VM can be started again', () => {
  for (const desired of ['running', 'stopped']) {
    const plan = planAction(facts(desired, 'failed'), 'start');
    assert.deepEqual([plan.target, plan.change.desired, plan.done], ['running', 'running', false]);
  }
});

test('stop of a VM that was given up as failed accepts that it is stopped', () => {
  assert.deepEqual(planAction(facts('stopped', 'failed'), 'stop').change, { state: 'stopped' });
});

test('a reset keeps a paused VM paused', () => {
  const plan = planAction(facts('paused', 'paused'), 'reset');
  assert.deepEqual([plan.target, plan.change.bootEpoch], ['paused', 4]);
});
