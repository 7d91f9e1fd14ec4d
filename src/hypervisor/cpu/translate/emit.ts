import { LEAVE } from '../interpret/core-parts.ts';
import type { Size, Val } from '../isa/builder.ts';
import { FETCH, FLAT_TLB, gpr, RECORD, REGION_COUNTERS, S, TLB, xmm } from '../layout.ts';
import type { FunctionBuilder, Label, Local } from '../wasm/function.ts';
import { I32, I64, V128 } from '../wasm/opcodes.ts';
import { i32, i64 } from '../wasm/value.ts';
import { AddressFlow } from './address-flow.ts';
import type { Block, Region, Target } from './blocks.ts';
import { RegionBuilder, type RegionFlow } from './builder.ts';
import type { GuestInstruction } from './code.ts';
import { Environment, type ReachOfLooks, type Window } from './environment.ts';
import { DEFERRED, type Flags, lazyForm, SIZES } from './flags.ts';
import { RegionMemory } from './memory.ts';
import { type RegionModule, storeLazy } from './module.ts';
import type { SiteKind } from './profile/anatomy.ts';
import type { FailedAccess, SiteCounters } from './profile/site-counters.ts';
import { isReturn } from './region.ts';

/** What a region's code is made for. */
export interface RegionContext {
  readonly long: boolean;
  /** The handler of the interpreter that the entry's record had. */
  readonly entryHandler: number;
  /** Physical address of the page `index` pages on. */
  readonly physical: (index: number) => number;
  /** Whether code at an offset has been run or decoded before. */
  readonly seen: (at: number) => boolean;
  readonly reach: ReachOfLooks;
  /** What the TLB does not have is found within the region; else the region is left for that, and takes half as long to compile. */
  readonly resolves: boolean;
  /** Count entries, instructions and exits in S.regionCounters. */
  readonly count: boolean;
  /** For a profile: counts each way out by its place too. */
  readonly sites?: SiteCounters | undefined;
  /** Address of a record for one instruction, with one behind it that resumes the region. */
  readonly record: (i: GuestInstruction) => Val;
  /** Address of the OBSERVED cells in which an indirect branch tells where it goes, when that is out of the region. */
  readonly observe: (i: GuestInstruction) => Val;
}

/** Cells for targets of one indirect branch, u32 each: offsets from the entry's page, 0 for none. */
export const OBSERVED = { cells: 16, bytes: 64 } as const;
/** Targets of an indirect branch that are compared with one by one; more are divided first. */
const COMPARED = 3;

/** Emits a region as one function (record) → code, of the interpreter's handler signature. */
export function emitRegion(
  f: FunctionBuilder,
  module: RegionModule,
  region: Region,
  context: RegionContext,
): void {
  new RegionEmitter(f, module, region, context).emit();
}

/**
 * A region's control flow as wasm's: loops and blocks by the dominator tree
 * (N. Ramsey: Beyond Relooper, ICFP 2022), registers in locals that all ways
 * into a block agree on.
 */
class RegionEmitter implements RegionFlow {
  readonly #f: FunctionBuilder;
  readonly #module: RegionModule;
  readonly #region: Region;
  readonly #context: RegionContext;
  readonly #record: Local;
  readonly #ordinal: Local;
  readonly #budget: Local;
  /** The type of addresses and general registers: i64 in 64-bit mode, else i32. */
  readonly #address: typeof I32 | typeof I64;
  readonly #pageBase: Local;
  readonly #view: Local;
  /** Whether MXCSR is settled: see Builder.settledMxcsr; 0 too behind a result that came the exact way. */
  readonly #settled: Local | undefined;
  readonly #builder: RegionBuilder;
  readonly #addressFlow: AddressFlow | undefined;
  /** What of memory is found behind a block, for those that it dominates. */
  readonly #windows = new Map<Block, readonly Window[]>();
  readonly #gprs: (Local | undefined)[] = [];
  readonly #xmms: (Local | undefined)[] = [];
  /** Where the common way out goes on, as an offset from the page, and what it takes from the budget. */
  readonly #exitAt: Local;
  readonly #entryBudget: Local;
  readonly #exitRetired: Local;
  /** Where a RET of a recursive function goes back to, in regions that have one. */
  readonly #returnTo: Local | undefined;
  #exit: Label = { depth: 0 };
  /** The same where the TLB has nothing for an access, which is counted. */
  #missed: Label = { depth: 0 };
  readonly #flagCode: Local;
  readonly #flagResult: Local;
  readonly #flagX: Local;
  readonly #flagY: Local;
  readonly #flagAux: Local;
  readonly #labels = new Map<Block, Label>();
  #block: Block;
  #instruction: GuestInstruction | undefined;
  /** Which of the block's instructions that is. */
  #index = 0;

  constructor(f: FunctionBuilder, module: RegionModule, region: Region, context: RegionContext) {
    this.#f = f;
    this.#module = module;
    this.#region = region;
    this.#context = context;
    this.#block = region.entry;
    this.#record = f.params[0] as Local;
    this.#ordinal = f.let(f.load('i32.load8_u', this.#record, RECORD.ordinal));
    this.#budget = f.local(I32, f.load('i32.load', S.budget).sub(this.#ordinal));
    this.#address = context.long ? I64 : I32;
    this.#pageBase = f.local(this.#address, f.load(this.#loadAddress(), S.pageBase));
    this.#view = f.local(I32);
    this.#lookAtView();
    const settles = region.blocks.some((block) => block.instructions.some((i) => i.effects.settles));
    this.#settled = settles ? f.local(I32) : undefined;
    this.#flagCode = f.local(I32);
    this.#flagResult = f.local(I64);
    this.#flagX = f.local(this.#address);
    this.#flagY = f.local(this.#address);
    this.#flagAux = f.local(I32);
    this.#exitAt = f.local(I32);
    this.#entryBudget = f.local(I32);
    this.#exitRetired = f.local(I32);
    this.#returnTo = region.blocks.some(isDispatch) ? f.local(I64) : undefined;
    this.#addressFlow = context.reach !== 'access' ? new AddressFlow(region) : undefined;
    const memory = new RegionMemory({
      f,
      module,
      record: this.#record,
      view: this.#view,
      long: context.long,
      reach: context.reach,
      resolves: context.resolves,
      addressFlow: this.#addressFlow,
      bail: (access) => this.bail('memory', access),
    });
    const registers = { gprs: this.#gprs, xmms: this.#xmms };
    const locals = { pageBase: this.#pageBase, registers, settled: this.#settled };
    this.#builder = new RegionBuilder(f, module, this, memory, locals, context.long);
  }

  emit(): void {
    const f = this.#f;
    const { gprs, xmms, entry } = this.#region;
    if (!this.#context.long) this.#guardFlat();
    for (let n = 0; n < 16; n++) {
      if ((gprs >> n) & 1) this.#gprs[n] = f.local(this.#address, f.load(this.#loadAddress(), gpr(n)));
      if ((xmms >> n) & 1) this.#xmms[n] = f.local(V128, f.load('v128.load', xmm(n)));
    }
    this.#count('entries');
    this.#context.sites?.entered(f);
    if (this.#context.count) f.set(this.#entryBudget, this.#budget);
    this.#builder.lookAtMxcsr();
    this.#builder.environment = new Environment();
    f.block((exit) => {
      this.#exit = exit;
      if (this.#context.resolves) return this.#tree(entry);
      f.block((missed) => {
        this.#missed = missed;
        this.#tree(entry);
      });
      this.#countMiss();
    });
    this.#commonExit();
  }

  /** Where a region often lacks an entry of the TLB, one that finds what it lacks is worth more: see translator.ts. */
  #countMiss(): void {
    const f = this.#f;
    f.store('i32.store', S.misses, f.load('i32.load', S.misses).add(1));
    f.store('i32.store', S.missedRecord, this.#record);
  }

  #count(counter: keyof typeof REGION_COUNTERS, by: Val = i64(1)): void {
    if (!this.#context.count) return;
    const at = S.regionCounters + REGION_COUNTERS[counter];
    this.#f.store('i64.store', at, this.#f.load('i64.load', at).add(by));
  }
  /** The instructions since the entry, for what is about to leave. */
  #countInstructions(retired: Val): void {
    const instructions = this.#entryBudget.sub(this.#budget).add(retired).extendS();
    this.#count('instructions', instructions);
    this.#context.sites?.retired(this.#f, instructions);
  }
  /** For a profile: control leaves at the instruction under way. */
  #leaving(kind: SiteKind, more: { to?: number; why?: string } = {}): void {
    this.#context.sites?.count(this.#f, { kind, at: this.#instruction?.at ?? this.#block.at, ...more });
  }

  /** The rare ways out of the region come together here, so that each of them is small. */
  #commonExit(): void {
    const f = this.#f;
    this.#countInstructions(this.#exitRetired);
    f.store('i32.store', S.budget, this.#budget.sub(this.#exitRetired));
    const { gprWrites, xmmWrites } = this.#region;
    for (let n = 0; n < 16; n++) {
      if ((gprWrites >> n) & 1) this.#storeGpr(n);
      const vector = this.#xmms[n];
      if ((xmmWrites >> n) & 1 && vector) f.store('v128.store', xmm(n), vector);
    }
    this.#storeFlags(this.#deferred());
    const { long } = this.#context;
    const offset = long ? this.#exitAt.extendS() : this.#exitAt;
    f.returnCall(this.#module.chain(long), this.#pageBase.add(offset).extendU());
  }

  /** Leaves by the common way out. */
  #leaveRarely(environment: Environment, at: number, by = this.#exit): void {
    const f = this.#f;
    this.#deferFlags(environment.flags);
    f.set(this.#exitAt, i32(at));
    f.set(this.#exitRetired, i32(environment.retired));
    f.br(by);
  }

  /** 32-bit code takes CS, DS, ES and SS to be flat; where they are not, the interpreter does it. */
  #guardFlat(): void {
    const f = this.#f;
    // ES, CS, SS and DS are the first four.
    f.unlikely(f.load('i32.load', S.oddSegments), () => {
      this.#leaving('interpreted', { why: 'a segment that is not flat' });
      f.returnCall(this.#module.core.resume, this.#record, i32(this.#context.entryHandler));
    });
  }

  // Structure

  #tree(block: Block): void {
    if (!block.loop) return this.#within(block, block.children.filter(isMerge));
    this.#canonicalize(block, this.#builder.environment);
    this.#f.loop((label) => {
      this.#labels.set(block, label);
      this.#builder.environment = this.#canonical(block);
      this.#within(block, block.children.filter(isMerge));
    });
  }

  /** A block and what it dominates; each of `merges` comes behind a wasm block that leads to it. */
  #within(block: Block, merges: readonly Block[]): void {
    const [last, ...rest] = merges;
    if (!last) return this.#body(block);
    this.#f.block((label) => {
      if (!last.loop) this.#labels.set(last, label);
      else this.#entries.set(last, label);
      this.#within(block, rest);
    });
    this.#builder.environment = this.#canonical(last);
    this.#tree(last);
  }

  /** Labels in front of loops that have several ways in. */
  readonly #entries = new Map<Block, Label>();

  #body(block: Block): void {
    const builder = this.#builder;
    this.#block = block;
    if (isDispatch(block)) return this.#dispatch(block);
    for (const [index, i] of block.instructions.entries()) {
      this.#instruction = i;
      this.#index = index;
      if (i.effects.treatment === 'native') builder.instruction(i, block, index);
      else this.#invoke(i);
      this.#block = block;
      const { environment } = builder;
      if (environment.ended) return;
      environment.retired += 1;
      this.#step(environment, block, i, index);
    }
    this.#windows.set(block, builder.environment.windows);
    if (block.next) this.#edge(block, block.next, builder.environment);
    else this.#f.unreachable();
  }

  taken(): void {
    const block = this.#block;
    if (!block.taken) throw new Error('a branch without a target');
    this.#behind(block, block.taken);
  }

  indirect(to: Val): void {
    const f = this.#f;
    const block = this.#block;
    const { returns, cases, dispatch } = block;
    const { long } = this.#context;
    const target = long ? f.let(to) : f.let(to.wrap()).extendU();
    if (returns?.block) f.if(this.#compare('eq', target, returns.at), () => this.#behind(block, returns));
    this.#choose(target, cases, (one) => this.#behind(block, one));
    if (dispatch?.block && this.#returnTo) {
      f.set(this.#returnTo, target);
      return this.#behind(block, dispatch);
    }
    this.#tellTarget(target);
    const environment = new Environment(this.#builder.environment);
    environment.retired += 1;
    this.#count('indirect');
    this.#leaving('indirect');
    this.#leave(environment, target);
  }

  /** Goes where a target is one of `cases`, which are in ascending order. */
  #choose(target: Val, cases: readonly Target[], go: (one: Target) => void): void {
    const f = this.#f;
    const inside = cases.filter((one) => one.block);
    const middle = inside[inside.length >> 1];
    if (inside.length <= COMPARED || !middle) {
      for (const one of inside) f.if(this.#compare('eq', target, one.at), () => go(one));
      return;
    }
    f.if(
      this.#compare('lt_u', target, middle.at),
      () => this.#choose(target, inside.slice(0, inside.length >> 1), go),
      () => this.#choose(target, inside.slice(inside.length >> 1), go),
    );
  }

  /** Compares an offset in CS with that of a place in the region. */
  #compare(operator: 'eq' | 'lt_u', target: Val, at: number): Val {
    const rip = this.#builder.rip(at);
    return this.#context.long ? target.compare(operator, rip) : target.wrap().compare(operator, rip.wrap());
  }

  /** Leaves the target of an indirect jump or call for whoever makes the region anew. */
  #tellTarget(target: Val): void {
    const f = this.#f;
    const i = this.#instruction;
    if (!i || isReturn(i)) return;
    const cells = this.#context.observe(i);
    const low = f.let(target.wrap());
    const cell = low
      .shrU(2)
      .xor(low.shrU(6))
      .and(OBSERVED.cells - 1);
    f.store('i32.store', cells.add(cell.shl(2)), low.sub(this.#pageBase.wrap()));
  }

  /** A block that only finds the way back from a recursive function. */
  #dispatch(block: Block): void {
    const builder = this.#builder;
    const { environment } = builder;
    const target = this.#returnTo;
    if (!target) throw new Error('a way back from nowhere');
    this.#instruction = undefined;
    this.#choose(target, block.cases, (one) => {
      builder.nested(() => this.#edge(block, one, new Environment(environment)));
      this.#block = block;
      this.#instruction = undefined;
    });
    this.#count('indirect');
    this.#leaving('indirect');
    this.#leave(environment, target);
  }

  /** Goes along an edge behind the current instruction, in the middle of its semantics. */
  #behind(block: Block, target: Target): void {
    const environment = new Environment(this.#builder.environment);
    environment.retired += 1;
    const instruction = this.#instruction;
    const index = this.#index;
    if (instruction) this.#step(environment, block, instruction, index);
    this.#windows.set(block, environment.windows);
    this.#builder.nested(() => this.#edge(block, target, environment));
    this.#block = block;
    this.#instruction = instruction;
    this.#index = index;
  }

  /** The environment's addresses behind an instruction. */
  #step({ addresses }: Environment, block: Block, i: GuestInstruction, index: number): void {
    if (this.#addressFlow) addresses.step(i, this.#addressFlow.where(block, index));
  }

  bail(why: string, access?: FailedAccess): void {
    const f = this.#f;
    const { environment } = this.#builder;
    const i = this.#instruction;
    if (!i) throw new Error('no instruction to leave at');
    if (access) this.#context.sites?.countAccess(f, i.at, access);
    else this.#leaving('interpreted', { why });
    const missed = access !== undefined && !this.#context.resolves;
    if (this.#block !== this.#region.entry || i !== this.#block.instructions[0]) {
      this.#count('interpreted');
      this.#leaveRarely(environment, i.at, missed ? this.#missed : this.#exit);
      return;
    }
    if (missed) this.#countMiss();
    this.#count('interpreted');
    this.#countInstructions(i32(environment.retired));
    this.#writeBack(environment);
    f.store('i32.store', S.budget, this.#budget.sub(environment.retired).add(this.#ordinal));
    f.returnCall(this.#module.core.resume, this.#record, i32(this.#context.entryHandler));
  }

  /** Leaves for an offset in CS. */
  #leave(environment: Environment, rip: Val): void {
    const f = this.#f;
    this.#countInstructions(i32(environment.retired));
    this.#writeBack(environment);
    f.store('i32.store', S.budget, this.#budget.sub(environment.retired));
    f.returnCall(this.#module.chain(this.#context.long), rip);
  }

  #edge(from: Block, target: Target, environment: Environment): void {
    const f = this.#f;
    const rip = this.#builder.rip(target.at);
    const to = target.block;
    if (!to) {
      this.#count('branches');
      this.#leaving('branch', { to: target.at });
      if (!this.#context.seen(target.at)) return this.#leaveRarely(environment, target.at);
      return this.#leave(environment, rip);
    }
    const last = from.instructions.at(-1);
    const page = to.at >> 12;
    if (page !== 0 && !isDispatch(to) && (!last || page !== last.at >> 12))
      f.unlikely(this.#elsewhere(page), () => {
        this.#leaving('moved', { to: target.at });
        this.#leaveRarely(environment, target.at);
      });
    if (to.order <= from.order) {
      this.#settleBudget(environment);
      f.unlikely(this.#budget.leS(0), () => {
        this.#count('budget');
        this.#leaving('budget', { to: target.at });
        f.store('i32.store', S.spendingRecord, this.#record);
        if (isDispatch(to) && this.#returnTo) this.#leave(environment, this.#returnTo);
        else this.#leaveRarely(environment, target.at);
      });
      this.#canonicalize(to, environment);
      if (this.#settled) f.unlikely(this.#settled.eqz(), () => this.#builder.lookAtMxcsr());
      f.br(this.#label(this.#labels, to));
    } else if (isMerge(to)) {
      this.#canonicalize(to, environment);
      f.br(this.#label(to.loop ? this.#entries : this.#labels, to));
    } else {
      this.#builder.environment = environment;
      this.#tree(to);
    }
  }

  #label(labels: ReadonlyMap<Block, Label>, block: Block): Label {
    const label = labels.get(block);
    if (!label) throw new Error('a block without a label');
    return label;
  }

  /** Whether another page is not mapped to where its code was translated from. */
  #elsewhere(page: number): Val {
    const f = this.#f;
    const linear = f.let(this.#builder.rip(page * 4096));
    const index = linear
      .wrap()
      .shrU(12)
      .and(FETCH.entries - 1);
    const entry = f.let(f.load('i32.load', S.fetchView).add(index.mul(FETCH.stride)));
    const tag = linear.or(f.load('i64.load', S.fetchGeneration));
    const known = f.load('i64.load', entry).eq(tag);
    return known.and(f.load('i32.load', entry, 12).eq(i32(this.#context.physical(page)))).eqz();
  }

  #settleBudget(environment: Environment): void {
    if (environment.retired === 0) return;
    this.#f.set(this.#budget, this.#budget.sub(environment.retired));
    environment.retired = 0;
  }

  /** Calls the interpreter's handler for one instruction; registers are in the state block meanwhile. */
  #invoke(i: GuestInstruction): void {
    const f = this.#f;
    const { environment } = this.#builder;
    this.#writeBack(environment);
    f.store('i32.store', S.budget, this.#budget.sub(environment.retired));
    const invalidations = f.let(f.load('i32.load', S.codeInvalidations));
    this.#count('handlers');
    this.#leaving('handler');
    const code = f.let(f.call(this.#module.core.invoke, this.#context.record(i)));
    f.unlikely(code.ne(LEAVE.resume), () => {
      this.#leaving('left');
      f.return(code);
    });
    const behind = new Environment();
    behind.retired = environment.retired;
    this.#builder.environment = behind;
    this.#lookAtView();
    this.#builder.lookAtMxcsr();
    for (let n = 0; n < 16; n++) {
      const home = this.#gprs[n];
      if (home) f.set(home, f.load(this.#loadAddress(), gpr(n)));
      const vector = this.#xmms[n];
      if (vector) f.set(vector, f.load('v128.load', xmm(n)));
    }
    // It may have written over what comes next.
    f.unlikely(f.load('i32.load', S.codeInvalidations).ne(invalidations), () => {
      const leaving = new Environment(behind);
      leaving.retired += 1;
      this.#leaving('rewritten');
      this.#leaveRarely(leaving, i.at + i.length);
    });
  }

  // State

  #loadAddress(): 'i32.load' | 'i64.load' {
    return this.#address === I32 ? 'i32.load' : 'i64.load';
  }

  /** The view of the TLB that accesses go by now: outside of 64-bit mode its flat tables. */
  #lookAtView(): void {
    const f = this.#f;
    const view = f.load('i32.load', S.tlbView);
    if (this.#context.long) f.set(this.#view, view);
    else f.set(this.#view, view.sub(TLB.base).mul(FLAT_TLB.scale).add(FLAT_TLB.base));
  }

  /** Brings a general register to the state block: see S.gpr for the high half. */
  #storeGpr(n: number): void {
    const home = this.#gprs[n];
    if (home) this.#f.store(this.#context.long ? 'i64.store' : 'i32.store', gpr(n), home);
  }

  #writeBack(environment: Environment): void {
    const f = this.#f;
    for (let n = 0; n < 16; n++) {
      if ((environment.dirtyGprs >> n) & 1) this.#storeGpr(n);
      const vector = this.#xmms[n];
      if ((environment.dirtyXmms >> n) & 1 && vector) f.store('v128.store', xmm(n), vector);
    }
    this.#storeFlags(environment.flags);
  }

  #storeFlags(flags: Flags): void {
    const f = this.#f;
    switch (flags.kind) {
      case 'memory':
        return;
      case 'deferred':
        f.run(this.#module.storeFlags('deferred'), flags.code, flags.x.extendU(), flags.y.extendU());
        return;
      case 'add':
      case 'sub':
        f.run(this.#module.storeFlags(flags.kind, flags.size), flags.r, flags.x, flags.y);
        return;
      case 'step-over':
        this.#storeFlags(flags.before);
        storeLazy(f, { ...flags, kind: 'step', cf: f.let(f.load('i32.load', S.flagAux).shrU(31)) });
        return;
      default:
        storeLazy(f, flags);
    }
  }

  /** What a block with several ways in finds. */
  #canonical(block: Block): Environment {
    const environment = new Environment(undefined, this.#addressFlow?.at(block));
    environment.windows = (block.dominator && this.#windows.get(block.dominator)) ?? [];
    environment.dirtyGprs = block.dirtyGprs;
    environment.dirtyXmms = block.dirtyXmms;
    environment.flags = block.flagsLive
      ? { kind: 'lazy', result: this.#flagResult, aux: this.#flagAux }
      : this.#deferred();
    return environment;
  }

  #deferred(): Flags {
    return { kind: 'deferred', code: this.#flagCode, x: this.#flagX, y: this.#flagY };
  }

  /** Brings the flags and the budget where the block expects them; registers are in their homes. */
  #canonicalize(block: Block, environment: Environment): void {
    this.#settleBudget(environment);
    if (block.flagsLive) this.#canonicalFlags(environment.flags);
    else this.#deferFlags(environment.flags);
  }

  #canonicalFlags(flags: Flags): void {
    const f = this.#f;
    if (flags.kind === 'lazy' && flags.result === this.#flagResult) return;
    if (flags.kind === 'memory' || flags.kind === 'deferred' || flags.kind === 'step-over') {
      this.#storeFlags(flags);
      f.set(this.#flagResult, f.load('i64.load', S.flagResult));
      f.set(this.#flagAux, f.load('i32.load', S.flagAux));
      return;
    }
    const { result, aux } = lazyForm(flags, (value) => f.let(value));
    const both = [f.let(result), f.let(aux)] as const;
    f.set(this.#flagResult, both[0]);
    f.set(this.#flagAux, both[1]);
  }

  #deferFlags(flags: Flags): void {
    const f = this.#f;
    const set = (code: number, size: Size, x: Val, y: Val = i32(0)): void => {
      const typed = (value: Val): Val => f.let(this.#address === I64 ? value.extendU() : value);
      const [first, second] = [typed(x), typed(y)];
      f.set(this.#flagCode, i32(code | (SIZES.indexOf(size) << 4)));
      f.set(this.#flagX, first);
      f.set(this.#flagY, second);
    };
    switch (flags.kind) {
      case 'deferred':
        return;
      case 'logic':
        return set(DEFERRED.logic, flags.size, flags.r);
      case 'step':
        return set(
          flags.delta === 1 ? DEFERRED.increment : DEFERRED.decrement,
          flags.size,
          flags.r,
          flags.cf,
        );
      case 'shift':
        return set(DEFERRED[flags.shift], flags.size, flags.x, flags.count);
      case 'add':
      case 'sub': {
        const { size, r, x, y } = flags;
        if (flags.carry) break;
        if (flags.compares) return set(DEFERRED.compare, size, x, y);
        return set(flags.kind === 'add' ? DEFERRED.addTo : DEFERRED.subFrom, size, r, y);
      }
      default:
    }
    this.#storeFlags(flags);
    f.set(this.#flagCode, i32(DEFERRED.memory));
  }
}

/** A block that finds the way back from a recursive function: see Block.dispatch. */
function isDispatch(block: Block): boolean {
  return block.instructions.length === 0;
}

function isMerge(block: Block): boolean {
  return block.forward >= 2;
}
