// One tap of a kernel: marked in all three grids, and its numbers written out.

import { all, one, slot, targetOf } from '../common/dom.js';
import { clamp, floatsOf, numeralOf } from '../common/numerals.js';
import { unitsUnder } from './drawings.js';
import { currentSlide } from './slide.js';

/**
 * The tap under the pointer, as row and column; null beside the grids.
 *
 * @param {MouseEvent} event
 */
function tapUnder(event) {
  const square = /** @type {HTMLTableCellElement} */ (targetOf(event).closest('td'));
  if (square) {
    const line = /** @type {HTMLTableRowElement} */ (square.parentElement);
    return [line.rowIndex, square.cellIndex];
  }
  const tile = /** @type {HTMLElement} */ (targetOf(event).closest('.cell-tile'));
  if (!tile) return null;
  const { taps } = currentSlide();
  return unitsUnder(tile, event).map((at) => clamp(Math.floor(at), taps));
}

/**
 * Tells of the tap under the pointer.
 *
 * @param {HTMLElement} block The three grids.
 * @param {MouseEvent} event
 */
export function tellTapUnder(block, event) {
  const tap = tapUnder(event);
  if (tap) tellTap(block, tap);
}

/**
 * Tells of the tap that an arrow key leads to.
 *
 * @param {HTMLElement} block
 * @param {[number, number]} step
 */
export function tellNextTap(block, step) {
  const { taps } = currentSlide();
  const at = (block.dataset.tap ?? '0,-1').split(',').map(Number);
  tellTap(block, at.map((tap, axis) => clamp(tap + step[axis], taps)));
}

/**
 * @param {HTMLElement} block
 * @param {number[]} tap
 */
function tellTap(block, tap) {
  if (!block.dataset.window) return;
  const { taps, dilation, size } = currentSlide();
  for (const marked of all('.cell-pointed', slot('panel'))) marked.classList.remove('cell-pointed');
  for (const grid of all('.cell-table, .cell-tile', block)) {
    const square = squareOf(grid, tap);
    square.classList.add('cell-pointed');
    if (square.matches('rect')) square.style.transform = `translate(${tap[1]}px, ${tap[0]}px)`;
  }
  block.dataset.tap = String(tap);
  const index = tap[0] * taps + tap[1];
  const { window, kernel } = block.dataset;
  const [read, weight] = [window, kernel].map((text) => floatsOf(text)[index]);
  const starts = block.dataset.at.split(',').map(Number);
  const place = starts.map((start, axis) => start + tap[axis] * dilation);
  const padding = place.some((at, axis) => at < 0 || at >= size[axis]);
  const words = padding ? 'in the padding' : `row ${place[0]}, column ${place[1]}`;
  const product = padding ? 0 : read * weight;
  const numerals = `${numeralOf(read)} × ${numeralOf(weight)} = ${numeralOf(product)}`;
  one('[data-cell-said]', slot('panel')).textContent = `${words}: ${numerals}`;
}

/**
 * @param {HTMLElement} grid
 * @param {number[]} tap
 * @returns {HTMLElement}
 */
function squareOf(grid, [row, column]) {
  if (!grid.matches('table')) return one('.cell-tap', grid);
  return /** @type {HTMLTableElement} */ (grid).rows[row].cells[column];
}
