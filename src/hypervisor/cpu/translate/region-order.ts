import { type Block, type Region, targetsOf } from './blocks.ts';

function postorder(entry: Block): Block[] {
  const seen = new Set<Block>();
  const out: Block[] = [];
  const visit = (block: Block): void => {
    seen.add(block);
    for (const target of targetsOf(block)) {
      if (target.block && !seen.has(target.block)) visit(target.block);
    }
    out.push(block);
  };
  visit(entry);
  return out;
}

/** Orders blocks, cuts branches into the middle of loops, finds dominators and what flows along the edges. */
export function finish(entry: Block, continuations: readonly number[]): Region {
  for (;;) {
    const blocks = postorder(entry).reverse();
    blocks.forEach((block, order) => {
      block.order = order;
      block.dominator = undefined;
    });
    findDominators(blocks);
    if (!cutIrreducible(blocks)) return annotate(entry, blocks, continuations);
  }
}

/** Cooper, Harvey, Kennedy: A Simple, Fast Dominance Algorithm. */
function findDominators(blocks: readonly Block[]): void {
  const predecessors = new Map<Block, Block[]>(blocks.map((block) => [block, []]));
  for (const block of blocks)
    for (const target of targetsOf(block)) if (target.block) predecessors.get(target.block)?.push(block);
  const meet = (x: Block, y: Block): Block => {
    let a = x;
    let b = y;
    while (a !== b) {
      while (a.order > b.order) a = a.dominator ?? a;
      while (b.order > a.order) b = b.dominator ?? b;
    }
    return a;
  };
  const [entry] = blocks;
  if (!entry) return;
  entry.dominator = entry;
  for (let changed = true; changed; ) {
    changed = false;
    for (const block of blocks) {
      if (block === entry) continue;
      let best: Block | undefined;
      for (const before of predecessors.get(block) ?? []) {
        if (!before.dominator) continue;
        best = best ? meet(best, before) : before;
      }
      if (best && block.dominator !== best) {
        block.dominator = best;
        changed = true;
      }
    }
  }
}

export function dominates(a: Block, b: Block): boolean {
  let x = b;
  while (x.order > a.order) x = x.dominator ?? a;
  return x === a;
}

/** Makes edges that go back to a block which does not dominate their origin leave the region; tells whether there were any. */
function cutIrreducible(blocks: readonly Block[]): boolean {
  let cut = false;
  for (const block of blocks) {
    for (const target of targetsOf(block)) {
      if (target.block && target.block.order <= block.order && !dominates(target.block, block)) {
        target.block = undefined;
        cut = true;
      }
    }
  }
  return cut;
}

function annotate(entry: Block, blocks: readonly Block[], continuations: readonly number[]): Region {
  let gprs = 0;
  let xmms = 0;
  let gprWrites = 0;
  let xmmWrites = 0;
  let instructions = 0;
  for (const block of blocks) {
    if (block !== entry) block.dominator?.children.push(block);
    for (const i of block.instructions) {
      gprs |= i.gprs;
      xmms |= i.xmms;
      gprWrites |= i.gprWrites;
      xmmWrites |= i.xmmWrites;
      instructions += 1;
    }
    for (const { block: to } of targetsOf(block)) {
      if (!to) continue;
      if (to.order > block.order) to.forward += 1;
      else to.loop = true;
    }
  }
  for (const block of blocks) block.children.sort((a, b) => b.order - a.order);
  flowDirty(blocks);
  flowFlags(blocks);
  return { entry, continuations, blocks, instructions, gprs, xmms, gprWrites, xmmWrites };
}

function flowDirty(blocks: readonly Block[]): void {
  for (let changed = true; changed; ) {
    changed = false;
    for (const block of blocks) {
      let gprs = block.dirtyGprs;
      let xmms = block.dirtyXmms;
      for (const i of block.instructions) {
        if (i.effects.treatment === 'handler') {
          gprs = 0;
          xmms = 0;
        } else {
          gprs |= i.gprWrites;
          xmms |= i.xmmWrites;
        }
      }
      for (const { block: to } of targetsOf(block)) {
        if (!to || ((to.dirtyGprs | gprs) === to.dirtyGprs && (to.dirtyXmms | xmms) === to.dirtyXmms))
          continue;
        to.dirtyGprs |= gprs;
        to.dirtyXmms |= xmms;
        changed = true;
      }
    }
  }
}

function flowFlags(blocks: readonly Block[]): void {
  for (let changed = true; changed; ) {
    changed = false;
    for (const block of [...blocks].reverse()) {
      const live = flagsLive(block);
      if (live !== block.flagsLive) {
        block.flagsLive = live;
        changed = true;
      }
    }
  }
}

/**
 * Whether the flags are read in a block, or behind it, before they are written. INC and DEC read CF only where it has to
 * be handed on to another block.
 */
function flagsLive(block: Block): boolean {
  let live = targetsOf(block).some((target) => target.block?.flagsLive ?? false);
  let handedOn = true;
  for (const { effects } of [...block.instructions].reverse()) {
    if (effects.flagsWritten === 'all') {
      live = false;
      handedOn = false;
    } else if (effects.flagsWritten === 'but carry') live ||= handedOn;
    if (effects.flagsRead) live = true;
  }
  return live;
}
