// The cell panel: what a person does with the window that a cell read, its taps and its sums.

import { around, focusedElement, one, root } from '../common/dom.js';
import { ARROWS, clamp } from '../common/numerals.js';
import { page } from '../common/page.js';
import { onPanel } from '../common/panel.js';
import { keysOf } from '../common/shortcuts.js';
import { state } from '../common/state.js';
import { unitsUnder } from './drawings.js';
import {
  beginSlide,
  currentSlide,
  drawSlide,
  focusOf,
  hoverSlide,
  moveSlide,
  playSlide,
  setSpeed,
  stepSlide,
  stopSlide,
} from './slide.js';
import { holdSums, listAllSums, listSums, orderSums } from './sums.js';
import { tellNextTap, tellTapUnder } from './taps.js';

let refocus = ''; // what in the panel gets the focus back when the panel has been filled

onPanel((panel) => {
  const home = state.view === 'cell' ? one('[data-cell-slide]', panel) : null;
  if (!beginSlide(home)) return;
  listSums();
  if (refocus) one(refocus, panel)?.focus({ preventScroll: true });
  refocus = '';
});

/**
 * The cell under the pointer; on the input the one whose window is around the pointer.
 *
 * @param {HTMLElement} plane
 * @param {MouseEvent} event
 */
function cellUnder(plane, event) {
  const { stride, padding, span, cells } = currentSlide();
  const input = plane.dataset.cellPlane === 'in';
  return unitsUnder(plane, event).map((at, axis) => {
    const cell = input ? Math.round((at + padding - span / 2) / stride) : Math.floor(at);
    return clamp(cell, cells[axis]);
  });
}

/**
 * @param {number[]} cell Row and column.
 * @param {string} focus Selector of what gets the focus back; '' for nothing.
 */
function chooseCell([row, column], focus) {
  const { channel, given } = currentSlide();
  refocus = focus;
  page.selectCell(`${channel},${row},${column}${given === null ? '' : `,${given}`}`);
}

/** @param {string} input Number of the input channel. */
function chooseInput(input) {
  const { channel, chosen } = currentSlide();
  holdSums();
  refocus = `[data-cell-given="${input}"]`;
  page.selectCell(`${channel},${chosen},${input}`);
}

root.addEventListener('pointermove', (event) => {
  const slide = currentSlide();
  if (!slide) return;
  const on = around(event);
  const plane = event.pointerType === 'touch' ? null : on('[data-cell-plane]');
  if (plane) hoverSlide(plane, cellUnder(plane, event));
  else if (slide.hover) hoverSlide(null, null);
  const block = on('[data-cell-block]');
  if (block) tellTapUnder(block, event);
});

root.addEventListener('pointerleave', () => {
  const slide = currentSlide();
  if (!slide?.hover) return;
  slide.hover = null;
  drawSlide();
});

/** @param {string} action "play", "back" or "on". */
function steer(action) {
  if (action === 'play') return playSlide();
  stopSlide();
  stepSlide(action === 'back' ? -1 : 1);
}

root.addEventListener('click', (event) => {
  const slide = currentSlide();
  if (!slide) return;
  const on = around(event);
  const plane = on('[data-cell-plane]');
  const focused = focusedElement();
  if (plane) {
    const focus = focused?.matches('.cell-plane') ? focusOf(focused) : '';
    return chooseCell(cellUnder(plane, event), focus);
  }
  if (on('[data-cell-take]')) return chooseCell(slide.at, focusOf(one('.cell-plane', slide.home)));
  if (on('[data-cell-speed]')) return setSpeed(Number(on('[data-cell-speed]').dataset.cellSpeed));
  if (on('[data-cell-do]')) return steer(on('[data-cell-do]').dataset.cellDo);
  if (on('[data-cell-order]')) return orderSums(on('[data-cell-order]').dataset.cellOrder);
  if (on('[data-cell-more]')) return listAllSums();
  if (on('[data-cell-given]')) chooseInput(on('[data-cell-given]').dataset.cellGiven);
  const block = on('[data-cell-block]');
  if (block) tellTapUnder(block, event);
});

root.addEventListener('keydown', (event) => {
  const slide = currentSlide();
  if (!slide || event.ctrlKey || event.metaKey || event.altKey) return;
  const on = around(event);
  const [plane, block] = [on('[data-cell-plane]'), on('[data-cell-block]')];
  const arrow = ARROWS[event.key];
  if (plane && arrow) moveSlide(...arrow);
  else if (plane && event.key === 'Enter') chooseCell(slide.at, focusOf(plane));
  else if (plane && event.key === ' ') playSlide();
  else if (block && arrow) tellNextTap(block, arrow);
  else return;
  event.preventDefault(); // the page would scroll
});

keysOf('Cell', {
  '↑ ↓ ← →': 'move the window, or go from tap to tap',
  'Enter': 'take its cell apart',
  'Space': 'play the slide',
});
