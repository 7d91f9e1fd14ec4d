import { linePath } from '../state/metric-series.ts';

export interface PlotProps {
  readonly title: string;
  readonly points: readonly { readonly at: number; readonly value: number }[];
  readonly format: (value: number) => string;
  /** The least that the top of the field stands for. */
  readonly least: number;
  /** The span that is shown ends now. Milliseconds. */
  readonly spanMs: number;
}

const WIDTH = 300;
const HEIGHT = 64;

/** One figure over time: its name, what it is now, and its line. */
export function Plot({ title, points, format, least, spanMs }: PlotProps) {
  const to = Date.now();
  const from = to - spanMs;
  const inside = points.filter(({ at }) => at >= from);
  const top = niceTop(Math.max(least, ...inside.map(({ value }) => value)));
  const line = linePath(inside, { from, to, top, width: WIDTH, height: HEIGHT });
  const now = inside.at(-1);
  const text = now === undefined ? '–' : format(now.value);
  return (
    <figure class="plot">
      <figcaption>
        <span>{title}</span>
        <strong>{text}</strong>
      </figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${title}: ${text} now, of ${format(top)} that are shown`}
      >
        <path class="grid" d={`M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 0.5}H${WIDTH}`} />
        {line === '' ? null : <path class="line" d={line} />}
      </svg>
      <span class="scale" aria-hidden="true">
        {format(top)}
      </span>
    </figure>
  );
}

/** The next power of two, so that the field does not jump with every reading. A hundred per cent stays that. */
function niceTop(value: number): number {
  if (value <= 100 && value > 64) return 100;
  const power = 2 ** Math.floor(Math.log2(value));
  return value <= power ? power : power * 2;
}
