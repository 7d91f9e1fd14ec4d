import type { ComponentChildren } from 'preact';

/** A column's head; on phones there is no room for one that is `optional`. */
export interface Column {
  readonly title: string;
  readonly kind?: 'number' | 'optional';
}

/** A list as a table. Its last column, without a title that is seen, holds what can be done with a row. */
export function ListTable(props: {
  readonly label: string;
  readonly columns: readonly Column[];
  readonly children: ComponentChildren;
}) {
  return (
    <div class="table-scroll">
      <table class="list" aria-label={props.label}>
        <thead>
          <tr>
            {props.columns.map(({ title, kind }) => (
              <th key={title} class={kind}>
                {title}
              </th>
            ))}
            <th>
              <span class="visually-hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>{props.children}</tbody>
      </table>
    </div>
  );
}
