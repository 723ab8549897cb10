// Marks of what is selected, on the tabs, the strip and the table.

import { all, field, one, root, slot } from './dom.js';
import { morph } from './morph.js';
import { state } from './state.js';
import { oneTabStop } from './table.js';

/** The names of the tabs. */
export const VIEWS = all('[data-view]').map((tab) => tab.dataset.view);

/**
 * What the panel is to show.
 *
 * @returns {import('./state.js').Looking}
 */
export function looking() {
  const { layer, view, cell, token } = state;
  const [sorting, scale] = [field('sorting').value, field('scale').value];
  return { layer, view, cell, token, sorting, scale };
}

/**
 * Whether two are the same in every field of the first.
 *
 * @param {Record<string, any>} now
 * @param {Record<string, any>} then
 */
export function same(now, then) {
  return Object.keys(now).every((key) => now[key] === then[key]);
}

/**
 * Makes a tab the chosen one.
 *
 * @param {string} name
 */
export function markView(name) {
  state.view = name;
  root.dataset.panel = name; // for the style sheet
  for (const tab of all('[data-view]')) {
    tab.setAttribute('aria-selected', String(tab.dataset.view === name));
    tab.tabIndex = tab.dataset.view === name ? 0 : -1;
  }
  slot('panel').setAttribute('aria-label', one(`[data-view="${name}"]`).textContent);
}

/**
 * Marks a layer in the strip and in the table.
 *
 * @param {string} name
 */
export function markLayer(name) {
  for (const part of all('[data-layer]')) {
    const layers = (part.dataset.layers ?? part.dataset.layer).split(' ');
    part.classList.toggle('chosen', layers.includes(name));
    const pressed = part.matches('tr') ? one('button', part) : part;
    pressed.setAttribute('aria-pressed', String(layers.includes(name)));
  }
  oneTabStop();
  bringIntoView();
}

/** Scrolls the strip in its own box until the chosen block is inside it. */
export function bringIntoView() {
  const box = slot('strip');
  const block = one('.chosen', box);
  if (!block) return;
  const [inner, outer] = [block.getBoundingClientRect(), box.getBoundingClientRect()];
  if (inner.left < outer.left) box.scrollLeft -= outer.left - inner.left + 20;
  if (inner.right > outer.right) box.scrollLeft += inner.right - outer.right + 20;
}

/** @type {Record<string, (() => void)[]>} */
const fillers = {};

/**
 * Calls a function whenever a part has been filled.
 *
 * @param {string} name Of the part.
 * @param {() => void} filler
 */
export function onFilled(name, filler) {
  (fillers[name] ??= []).push(filler);
}

/**
 * Fills parts with an answer; the layer that had the keyboard in the strip or the table keeps it.
 *
 * @param {Record<string, any>} html By name of the part.
 * @param {() => void} then What makes what was filled ready.
 */
export function fillParts(html, then) {
  const focused = /** @type {HTMLElement} */ (document.activeElement?.closest?.('[data-layer]'));
  const home = /** @type {HTMLElement} */ (focused?.closest('[data-slot]'));
  for (const [name, filling] of Object.entries(html)) {
    // sentences are short, and text that is kept would count as moved where its line breaks anew
    if (name === 'strip' || name === 'table') morph(slot(name), filling);
    else slot(name).innerHTML = filling;
  }
  for (const name of Object.keys(html)) {
    for (const filler of fillers[name] ?? []) filler();
  }
  then();
  if (!home) return;
  const target = all('[data-layer]', home).find((part) =>
    part.dataset.layer === focused.dataset.layer
  );
  const pressed = target && (one('button', target) ?? target);
  pressed?.focus({ preventScroll: true });
}
