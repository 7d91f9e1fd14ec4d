/** A span of clusters of the file, by number; `end` is behind it. */
export interface Span {
  readonly first: number;
  readonly end: number;
  readonly what: string;
}

/**
 * Which clusters of an image hold metadata, so that no data is written over it
 * however wrong the image's own tables are.
 */
export class MetadataPlaces {
  /** Header, L1 tables, refcount table, snapshot table; by first cluster. */
  #fixed: Span[] = [];
  readonly #refcountBlocks = new Set<number>();
  /** Active L2 tables: which L1 entry has them. */
  readonly #l2Tables = new Map<number, number>();

  /** @returns what overlaps one of the spans, if anything does */
  setFixed(spans: readonly Span[]): string | undefined {
    this.#fixed = spans.toSorted((a, b) => a.first - b.first);
    for (const [i, span] of this.#fixed.entries()) {
      const next = this.#fixed[i + 1];
      if (next && next.first < span.end) return `${next.what} overlaps ${span.what}`;
    }
    return undefined;
  }

  /** Puts a span in the place of those of the same name. */
  moveFixed(span: Span): void {
    this.setFixed([...this.#fixed.filter(({ what }) => what !== span.what), span]);
  }

  addRefcountBlock(cluster: number): void {
    this.#refcountBlocks.add(cluster);
  }

  addL2Table(cluster: number, l1Index: number): void {
    this.#l2Tables.set(cluster, l1Index);
  }

  removeL2Table(cluster: number): void {
    this.#l2Tables.delete(cluster);
  }

  /** The L1 entry that has the L2 table in this cluster. */
  l1IndexOf(cluster: number): number | undefined {
    return this.#l2Tables.get(cluster);
  }

  isRefcountBlock(cluster: number): boolean {
    return this.#refcountBlocks.has(cluster);
  }

  /** What metadata lies in a cluster, if any. */
  at(cluster: number): string | undefined {
    if (this.#refcountBlocks.has(cluster)) return 'a refcount block';
    if (this.#l2Tables.has(cluster)) return 'an L2 table';
    return this.#fixedAt(cluster);
  }

  #fixedAt(cluster: number): string | undefined {
    let low = 0;
    let high = this.#fixed.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#fixed[middle].end <= cluster) low = middle + 1;
      else high = middle;
    }
    const span = this.#fixed[low];
    return span && span.first <= cluster ? span.what : undefined;
  }
}
