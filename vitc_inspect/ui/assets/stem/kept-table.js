// Keeping the position table of an image size while the size is changed, so that a run raises.

import { field, one, slot } from '../common/dom.js';

const box = /** @type {HTMLInputElement} */ (one('[data-keep-table]'));

/** @param {boolean} kept Whether the table of the size that is written now is kept. */
export function keepTable(kept) {
  field('table_of').value = kept ? `${field('height').value}x${field('width').value}` : '';
}

/** Says whose table is kept. */
export function showKeptTable() {
  const size = field('table_of').value;
  box.checked = size !== '';
  const of = size ? size.replace('x', ' × ') : 'this size';
  slot('kept_table').textContent = `keep the position table of ${of}`;
}
