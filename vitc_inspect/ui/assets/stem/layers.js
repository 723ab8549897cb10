// The table of layers: which rows and columns are shown, and in which order.

import { all, around, one, root, slot } from '../common/dom.js';
import { onFilled } from '../common/selection.js';
import { state } from '../common/state.js';
import { oneTabStop } from '../common/table.js';
import { changed } from './requests.js';

const SHOWN = ['pointwise', 'figures']; // what a button of the table shows or folds away

/** @typedef {HTMLTableRowElement[]} Line A row, and what stands under it and goes with it. */

let sorting = { column: '', descending: true }; // the column's index; '' is the order of the layers

/**
 * Opens or closes the layers of the transformer blocks, the table's one fold.
 *
 * @param {HTMLElement} [_line]
 * @param {boolean} [open]
 */
export function toggleFold(_line, open = Boolean(one('[data-inside]').hidden)) {
  state.unfolded = open;
  one('[data-inside]').hidden = !open;
  one('[data-fold]').setAttribute('aria-expanded', String(open));
  oneTabStop();
}

// The rows of the stem in order; what differs of a row stands under it and goes with it.
function linesToSort() {
  const body = /** @type {HTMLTableSectionElement} */ (one('tbody', slot('table')));
  /** @type {Line[]} */
  const lines = [];
  for (const row of body?.rows ?? []) {
    if (row.matches('.apart')) lines.at(-1).push(row);
    else lines.push([row]);
  }
  return lines;
}

/**
 * @param {Line} line
 * @param {string} column
 */
function valueOf([row], column) {
  return Number(row.cells[Number(column)]?.dataset.value ?? -1);
}

function sortLayers() {
  const { column, descending } = sorting;
  for (const head of all('th:has([data-sort])', slot('table'))) {
    const own = one('[data-sort]', head).dataset.sort === column;
    head.setAttribute('aria-sort', own ? (descending ? 'descending' : 'ascending') : 'none');
  }
  if (column === '') return;
  const sign = descending ? -1 : 1;
  const lines = linesToSort().filter(([row]) => !row.matches('[data-fold-row]'));
  const last = linesToSort().filter(([row]) => row.matches('[data-fold-row]'));
  lines.sort((a, b) => sign * (valueOf(a, column) - valueOf(b, column)));
  one('tbody', slot('table')).append(...[...lines, ...last].flat());
  sayTies(lines, column);
}

/**
 * Says which layers are equal in the figure, so that their order says nothing.
 *
 * @param {Line[]} lines
 * @param {string} column
 */
function sayTies(lines, column) {
  /** @type {Map<number, Line[]>} */
  const groups = new Map();
  for (const line of lines) {
    const value = valueOf(line, column);
    if (value > 0) groups.set(value, [...(groups.get(value) ?? []), line]);
  }
  const ties = [...groups.values()].filter((group) => group.length > 1).map((group) => {
    const names = group.map(([row]) => row.dataset.layer);
    const said = group[0][0].cells[Number(column)].textContent;
    return `${names.slice(0, -1).join(', ')} and ${names.at(-1)} (${said})`;
  });
  const output = one('[data-ties]', slot('table'));
  if (output) output.textContent = ties.length ? `Equal: ${ties.join('; ')}` : '';
}

function showColumns() {
  for (const name of SHOWN) {
    const open = root.classList.contains(`show-${name}`);
    one(`[data-show=${name}]`, slot('table'))?.setAttribute('aria-expanded', String(open));
  }
}

/** @param {string} column */
function sortBy(column) {
  if (column !== sorting.column) sorting = { column, descending: true };
  else if (sorting.descending) sorting = { column, descending: false };
  else sorting = { column: '', descending: true };
  if (sorting.column) sortLayers();
  else changed({ history: 'replace' }); // the order of the layers comes with the next answer
}

root.addEventListener('click', (event) => {
  const on = around(event);
  const shows = on('[data-show]');
  if (shows) {
    root.classList.toggle(`show-${shows.dataset.show}`);
    showColumns();
  }
  if (on('[data-sort]')) sortBy(on('[data-sort]').dataset.sort);
});

onFilled('table', () => {
  if (!one('table', slot('table'))) return;
  showColumns();
  sortLayers();
});
