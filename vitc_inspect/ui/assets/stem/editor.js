// The editor's rows: adding, inserting, moving and removing them, and more and less of a number.

import { all, around, one, root, slot, targetOf } from '../common/dom.js';
import { state } from '../common/state.js';
import { keysOf } from '../common/shortcuts.js';
import { partsOf } from './controls.js';
import { changed } from './requests.js';

/** @type {Record<string, string>} */
const NEW_CONV = {
  kernel_size: '3',
  stride: '2',
  padding: '1',
  out_channels: '64',
  norm: 'batch',
  activation: 'relu',
  dilation: '1',
  groups: '1',
  bias: '0',
};

/** Adds a copy of the last convolution before proj; to a stem that is proj alone, a new one. */
export function addRow() {
  const rows = all('[data-row]');
  if (!rows.length) return;
  const row = copyOf(rows.at(-2) ?? rows[0]);
  if (rows.length === 1) {
    for (const part of partsOf(row)) {
      part.value = NEW_CONV[part.dataset.part];
    }
  }
  rows.at(-1).before(row);
  restructured();
}

/**
 * A copy of a row, with what is chosen in its lists, which a browser does not copy.
 *
 * @param {HTMLElement} row
 */
function copyOf(row) {
  const copy = /** @type {HTMLElement} */ (row.cloneNode(true));
  const chosen = partsOf(row);
  partsOf(copy).forEach((part, i) => {
    part.value = chosen[i].value;
  });
  return copy;
}

/** @param {HTMLElement} row */
export function removeRow(row) {
  row.remove();
  restructured();
}

/**
 * Shows or hides the fields of a row that are seldom needed.
 *
 * @param {HTMLElement} button
 */
export function toggleMore(button) {
  const open = button.closest('[data-row]').classList.toggle('open');
  button.setAttribute('aria-expanded', String(open));
}

// Names the rows anew, and asks for the answer.
function restructured() {
  const rows = all('[data-row]');
  rows.forEach((row, i) => {
    row.dataset.row = i === rows.length - 1 ? 'proj' : `conv${i + 1}`;
    one('.row-name', row).textContent = row.dataset.row;
  });
  state.editorHtml = null;
  changed({ by: 'rows', structure: true });
}

/**
 * @param {HTMLElement} row
 * @param {number} step -1 for up, 1 for down.
 */
function moveRow(row, step) {
  const other = step < 0 ? row.previousElementSibling : row.nextElementSibling;
  if (!other) return;
  if (step < 0) other.before(row);
  else other.after(row);
  restructured();
}

/** @param {HTMLElement} button */
function stepNumber(button) {
  const input = /** @type {HTMLInputElement} */ (one('input', button.parentElement));
  if (Number(button.dataset.step) < 0) input.stepDown();
  else input.stepUp();
  input.dispatchEvent(new Event('input', { bubbles: true }));
  input.dispatchEvent(new Event('change', { bubbles: true }));
}

root.addEventListener('click', (event) => {
  const on = around(event);
  const row = on('[data-row]');
  if (on('[data-step]')) return stepNumber(on('[data-step]'));
  if (on('[data-move]')) return moveRow(row, Number(on('[data-move]').dataset.move));
  if (!on('[data-insert]')) return;
  row.before(copyOf(row));
  restructured();
});

// Alt and an arrow key move the row that the keyboard is in.
slot('editor').addEventListener('keydown', (event) => {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!event.altKey || !step) return;
  event.preventDefault();
  moveRow(targetOf(event).closest('[data-row]'), step);
});

keysOf('Editor', { 'Alt ↑ ↓': 'move the convolution' });
