/** How much of what there is is taken: a bar with both in words. */
export function Share(props: {
  readonly label: string;
  readonly used: number;
  readonly of: number;
  readonly format: (value: number) => string;
  /** In words; without it, how much is used of what. */
  readonly text?: string | undefined;
}) {
  const { label, used, of, format } = props;
  const text = props.text ?? `${format(used)} of ${format(of)}`;
  const tight = of > 0 && used / of > 0.9;
  return (
    <div class={`share${tight ? ' tight' : ''}`}>
      <span>{label}</span>
      <span class="muted">{text}</span>
      <meter min={0} max={Math.max(1, of)} value={used} aria-label={`${label}: ${text}`} />
    </div>
  );
}
