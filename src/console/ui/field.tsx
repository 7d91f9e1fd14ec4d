import type { ComponentChildren, InputHTMLAttributes } from 'preact';
import { useId, useLayoutEffect, useRef } from 'preact/hooks';

interface Common {
  readonly label: string;
  /** What helps to fill it in. */
  readonly note?: string | undefined;
  /** What is wrong with it. */
  readonly problem?: string | undefined;
}

export interface TextFieldProps extends Common {
  readonly value: string;
  readonly onInput: (value: string) => void;
  readonly type?: 'text' | 'password' | 'number' | 'search' | 'date';
  readonly placeholder?: string;
  readonly unit?: string;
  readonly mono?: boolean;
  readonly autofocus?: boolean;
  readonly required?: boolean;
  readonly autocomplete?: string;
  readonly list?: string;
  readonly disabled?: boolean;
}

/** One line of text with its name above it and what is wrong below. */
export function TextField({
  label,
  note,
  problem,
  value,
  onInput,
  unit,
  mono,
  autofocus,
  ...rest
}: TextFieldProps) {
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  // Browsers heed the attribute but once a page.
  useLayoutEffect(() => {
    if (autofocus) input.current?.focus();
  }, [autofocus]);
  const described = problem || note ? `${id}-note` : undefined;
  return (
    <div class={`field${problem ? ' wrong' : ''}`}>
      <label for={id}>{label}</label>
      <span class="input">
        <input
          ref={input}
          id={id}
          {...(rest as InputHTMLAttributes<HTMLInputElement>)}
          class={mono ? 'mono' : ''}
          value={value}
          spellcheck={false}
          autofocus={autofocus ?? false}
          aria-invalid={problem ? 'true' : undefined}
          aria-describedby={described}
          onInput={(event) => onInput(event.currentTarget.value)}
        />
        {unit === undefined ? null : <span class="unit">{unit}</span>}
      </span>
      <Note id={described} problem={problem} note={note} />
    </div>
  );
}

export interface SelectFieldProps extends Common {
  readonly value: string;
  readonly onInput: (value: string) => void;
  readonly options: readonly (readonly [value: string, text: string])[];
  readonly disabled?: boolean;
}

export function SelectField({ label, note, problem, value, onInput, options, disabled }: SelectFieldProps) {
  const id = useId();
  const described = problem || note ? `${id}-note` : undefined;
  return (
    <div class={`field${problem ? ' wrong' : ''}`}>
      <label for={id}>{label}</label>
      <select
        id={id}
        value={value}
        disabled={disabled ?? false}
        aria-describedby={described}
        onInput={(event) => onInput(event.currentTarget.value)}
      >
        {options.map(([key, text]) => (
          <option key={key} value={key} selected={key === value}>
            {text}
          </option>
        ))}
      </select>
      <Note id={described} problem={problem} note={note} />
    </div>
  );
}

export function CheckField(props: {
  readonly label: string;
  readonly checked: boolean;
  readonly onInput: (checked: boolean) => void;
}) {
  return (
    <label class="check">
      <input
        type="checkbox"
        checked={props.checked}
        onInput={(event) => props.onInput(event.currentTarget.checked)}
      />
      <span>{props.label}</span>
    </label>
  );
}

/** A few ways of which one is taken. */
export function Choice<T extends string>(props: {
  readonly label: string;
  readonly value: T;
  readonly onInput: (value: T) => void;
  readonly options: readonly (readonly [value: T, text: string])[];
}) {
  const name = useId();
  return (
    <fieldset class="choice">
      <legend>{props.label}</legend>
      <div>
        {props.options.map(([value, text]) => (
          <label key={value}>
            <input
              type="radio"
              name={name}
              value={value}
              checked={value === props.value}
              onChange={() => props.onInput(value)}
            />
            <span>{text}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}

function Note({
  id,
  problem,
  note,
}: {
  id: string | undefined;
  problem: string | undefined;
  note: string | undefined;
}) {
  // The line is there in any case, so that nothing moves when a problem comes or goes.
  return (
    <span id={id} class="note">
      {problem || note || '\u00a0'}
    </span>
  );
}

/** More fields, folded away. */
export function More({ label, children }: { readonly label: string; readonly children: ComponentChildren }) {
  return (
    <details class="more">
      <summary>{label}</summary>
      <div class="stack">{children}</div>
    </details>
  );
}
