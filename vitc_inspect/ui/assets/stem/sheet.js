// On a small screen the choices are a sheet over the lower half, which a button opens and closes.

import { all, around, one, root, slot } from '../common/dom.js';

/**
 * Opens or closes the sheet; what it changes stands above it.
 *
 * @param {boolean} open
 */
export function choosing(open) {
  if (open !== root.classList.contains('choosing')) window.scrollTo(0, 0);
  root.classList.toggle('choosing', open);
  one('[data-toggle-choose]').setAttribute('aria-expanded', String(open));
  titleToggle();
}

/** Says on the button what the choices come to. */
export function titleToggle() {
  const tokens = one('[data-seq-len]', slot('totals'))?.dataset.seqLen;
  const count = Number(tokens).toLocaleString('en');
  const shown = tokens ? `Show ${count} tokens` : 'Show what is wrong';
  const words = root.classList.contains('choosing') ? shown : 'Edit the stem';
  one('[data-toggle-choose]').textContent = words;
}

/**
 * Shows one part of the choices, where there is no room for all.
 *
 * @param {string} part "stem", "image" or "settings".
 */
export function edit(part) {
  root.dataset.editing = part;
  for (const button of all('[data-edit]')) {
    button.setAttribute('aria-pressed', String(button.dataset.edit === part));
  }
}

root.addEventListener('click', (event) => {
  const button = around(event)('[data-edit]');
  if (button) edit(button.dataset.edit);
});
