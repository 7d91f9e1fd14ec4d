import type { ComponentChildren } from 'preact';
import { mayWrite } from '../state/session.ts';
import { Icon, type IconName } from './icon.tsx';

/** The head of a page: its name and, for keys that may write, the one thing to do there. */
export function PageTitle(props: {
  readonly title: string;
  /** Where one came from, and what that is called. */
  readonly back?: { readonly to: string; readonly label: string } | undefined;
  readonly action?: { readonly icon: IconName; readonly text: string; readonly onClick: () => void };
  readonly children?: ComponentChildren;
}) {
  const { title, back, action, children } = props;
  return (
    <header class="title">
      {back === undefined ? null : (
        <a class="button quiet icon" href={`#/${back.to}`} aria-label={back.label}>
          <Icon name="back" />
        </a>
      )}
      <h1>{title}</h1>
      {action !== undefined && mayWrite() ? (
        <button type="button" class="primary" onClick={action.onClick}>
          <Icon name={action.icon} /> {action.text}
        </button>
      ) : null}
      {children}
    </header>
  );
}
