/** Strokes on a field of 20 × 20. */
const PATHS = {
  house: 'M3 9.5 10 3.5l7 6M5 9v7.5h10V9',
  disc: 'M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14ZM10 8.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3Z',
  people:
    'M7.5 9.5a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6ZM2.5 16.5c0-3 2-4.7 5-4.7s5 1.7 5 4.7M13 4.2a2.7 2.7 0 0 1 0 5.2M14.5 12c2 .5 3 2 3 4.5',
  server: 'M3.5 4h13v5h-13zM3.5 11h13v5h-13zM6.5 6.5h.01M6.5 13.5h.01',
  key: 'M6.5 13.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM9.5 10.5H17M14.5 10.5v3M17 10.5v2',
  plus: 'M10 4v12M4 10h12',
  play: 'M6.5 4.5v11l9-5.5z',
  stop: 'M5.5 5.5h9v9h-9z',
  power: 'M10 3v6M6 5.5a6 6 0 1 0 8 0',
  pause: 'M7 4.5v11M13 4.5v11',
  reset: 'M15.5 8A6 6 0 1 0 16 11.5M16 4v4h-4',
  search: 'M9 14.5A5.5 5.5 0 1 0 9 3.5a5.5 5.5 0 0 0 0 11ZM13 13l4 4',
  close: 'M5 5l10 10M15 5 5 15',
  copy: 'M7 7h9v9H7zM4 13V4h9',
  download: 'M10 3v9M6.5 9 10 12.5 13.5 9M4 16h12',
  upload: 'M10 13V4M6.5 7.5 10 4l3.5 3.5M4 16h12',
  up: 'M5 12.5 10 7.5l5 5',
  down: 'M5 7.5l5 5 5-5',
  back: 'M12 4.5 6.5 10l5.5 5.5',
  expand: 'M4 8V4h4M16 12v4h-4M12 4h4v4M8 16H4v-4',
  camera: 'M3.5 6.5h3l1.2-2h4.6l1.2 2h3v9h-13zM10 13.5a2.7 2.7 0 1 0 0-5.4 2.7 2.7 0 0 0 0 5.4Z',
  paste: 'M6 5H4.5v11.5h11V5H14M7 3.5h6v3H7zM7.5 10.5h5M7.5 13.5h3',
  trash: 'M4 6h12M8 6V4h4v2M5.5 6l.8 10.5h7.4L14.5 6',
  moon: 'M15.5 11.8A6 6 0 0 1 8.2 4.5a6 6 0 1 0 7.3 7.3Z',
  sun: 'M10 6.8a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4ZM10 2.5v1.5M10 16v1.5M2.5 10H4M16 10h1.5M4.7 4.7l1 1M14.3 14.3l1 1M4.7 15.3l1-1M14.3 5.7l1-1',
  mouse: 'M10 3a4.5 4.5 0 0 0-4.5 4.5v5a4.5 4.5 0 0 0 9 0v-5A4.5 4.5 0 0 0 10 3ZM10 3v4.5M5.5 7.5h9',
  voice: 'M4 8h3l4-3.5v11L7 12H4zM13.5 7.5a3.5 3.5 0 0 1 0 5M15.5 5a7 7 0 0 1 0 10',
  door: 'M8 4H4v12h4M8 10h9M13.5 6.5 17 10l-3.5 3.5',
} as const;

export type IconName = keyof typeof PATHS;

/** A small picture beside, or in place of, a text; it says nothing to screen readers. */
export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
      <path
        d={PATHS[name]}
        fill="none"
        stroke="currentColor"
        stroke-width="1.6"
        stroke-linecap="round"
        stroke-linejoin="round"
      />
    </svg>
  );
}
