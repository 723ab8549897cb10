// Filling the panel, and what is done whenever it has been filled.

import { focusedElement, one, root, slot } from './dom.js';
import { page } from './page.js';
import { state } from './state.js';

/** @type {((panel: HTMLElement) => void)[]} */
const fillers = [];

/**
 * Calls a function with the panel whenever it has been filled.
 *
 * @param {(panel: HTMLElement) => void} filler
 */
export function onPanel(filler) {
  fillers.push(filler);
}

let filledFor = ''; // the tab that the panel was last filled for

/** Says that the panel is being made; what it shows of another tab steps back at once. */
export function panelWaits() {
  slot('panel').setAttribute('aria-busy', 'true');
  slot('panel').classList.toggle('other-view', filledFor !== state.view);
}

/** Says that nothing is on its way to the panel. */
export function panelRests() {
  slot('panel').removeAttribute('aria-busy');
}

/**
 * Fills the panel, unless it has this already, so that what is open in it stays open.
 *
 * @param {string} html
 */
export function showPanel(html) {
  panelRests();
  filledFor = state.view;
  root.dataset.filled = filledFor; // for the style sheet
  if (html === state.panelHtml) return;
  state.panelHtml = html;
  const held = focusInPanel();
  const panel = slot('panel');
  panel.innerHTML = html;
  for (const filler of fillers) filler(panel);
  if (held) one(held, panel)?.focus({ preventScroll: true });
  requestAnimationFrame(() => { // what needs the layout waits for the one the frame makes anyway
    const image = one('.wall img', panel); // a value a pixel, unless it must shrink
    image?.classList.toggle('shrunk', Number(image.getAttribute('width')) > image.clientWidth);
    page.panelPlaced();
  });
}

// Where the focus goes when the panel is filled anew: to the same button, or from the wall to the
// map that was opened on it and back. Else who uses keys alone would start again at the page's top.
function focusInPanel() {
  const focused = focusedElement();
  const step = focused?.matches?.('[data-map]') && focused.getAttribute('aria-label');
  if (step) return `[data-map][aria-label="${step}"]`;
  return focused?.closest?.('.plane, .wall, [data-map]') ? '.plane, .wall' : '';
}
