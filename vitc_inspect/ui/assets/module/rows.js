// The rows of a module's table: which folds are open, and selecting a row.

import { all, one, slot } from '../common/dom.js';
import { markLayer } from '../common/selection.js';
import { state } from '../common/state.js';
import { oneTabStop } from '../common/table.js';

/** Shows the rows that lie in open folds alone. */
export function showFolds() {
  const open = new Set();
  for (const line of all('tr', slot('table'))) {
    const inside = line.dataset.within?.split(' ') ?? [];
    line.hidden = !inside.every((name) => open.has(name));
    if (!line.dataset.foldRow) continue;
    const isOpen = state.opened.has(line.dataset.title);
    if (isOpen) open.add(line.dataset.foldRow);
    one('[data-fold]', line).setAttribute('aria-expanded', String(isOpen));
  }
  oneTabStop();
}

/**
 * Opens or closes a fold.
 *
 * @param {HTMLElement} line
 * @param {boolean} [open]
 */
export function toggleFold(line, open = !state.opened.has(line.dataset.title)) {
  if (open) state.opened.add(line.dataset.title);
  else state.opened.delete(line.dataset.title);
  showFolds();
}

/** Marks the selected row, and opens every fold around it, so that it can be seen. */
export function markRow() {
  const line = all('tr[data-layer]', slot('table')).find((row) =>
    row.dataset.layer === state.layer
  );
  for (const name of line?.dataset.within?.split(' ') ?? []) {
    state.opened.add(one(`[data-fold-row="${name}"]`, slot('table')).dataset.title);
  }
  showFolds();
  markLayer(state.layer);
}
