// One map seen large: the value under the pointer or the keyboard's cursor.

import { one } from '../common/dom.js';
import { ARROWS, bytesOf, clamp, numbersOf, numeralOf } from '../common/numerals.js';
import { page } from '../common/page.js';

/** @type {WeakMap<HTMLElement, Float32Array>} */
const planeValues = new WeakMap(); // row by row, once they are asked for

let planeAt = [0, 0]; // row and column under the cursor, of the values that were sent

/** Begins at the first value. */
export function resetPlane() {
  planeAt = [0, 0];
}

/**
 * @param {HTMLElement} plane
 * @param {number} place
 */
function valueOn(plane, place) {
  if (!planeValues.has(plane)) {
    const sent = one('[data-values]', plane.closest('figure')).dataset.values;
    planeValues.set(plane, new Float32Array(bytesOf(sent).buffer));
  }
  return planeValues.get(plane)[place];
}

/**
 * Says the value at a row and a column.
 *
 * @param {HTMLElement} plane
 * @param {number} row
 * @param {number} column
 */
function pointAt(plane, row, column) {
  const [rows, columns, step] = numbersOf(plane, 'rows', 'columns', 'step');
  planeAt = [clamp(row, rows), clamp(column, columns)];
  const [r, c] = planeAt;
  const mark = one('.cursor', plane);
  mark.hidden = false;
  Object.assign(mark.style, {
    left: `${(100 * c) / columns}%`,
    top: `${(100 * r) / rows}%`,
    width: `${100 / columns}%`,
    height: `${100 / rows}%`,
  });
  const value = numeralOf(valueOn(plane, r * columns + c));
  const words = `row ${r * step}, column ${c * step}: ${value}`;
  one('.hover', plane.closest('figure')).textContent = words;
  page.pointedInMap([(r + 0.5) / rows, (c + 0.5) / columns]);
}

/**
 * Says the value under the pointer.
 *
 * @param {HTMLElement} plane
 * @param {MouseEvent} event
 */
export function pointUnder(plane, event) {
  const box = plane.getBoundingClientRect();
  const [rows, columns] = numbersOf(plane, 'rows', 'columns');
  pointAt(
    plane,
    Math.floor(((event.clientY - box.top) / box.height) * rows),
    Math.floor(((event.clientX - box.left) / box.width) * columns),
  );
}

/**
 * Opens the value under the cursor in the panel that takes it apart.
 *
 * @param {HTMLElement} plane
 */
export function takeApart(plane) {
  if (!plane.dataset.opens) return;
  const [row, column] = planeAt.map((at) => at * Number(plane.dataset.step));
  page.selectCell(`${plane.dataset.plane},${row},${column}`, plane.dataset.opens);
}

/**
 * @param {HTMLElement} plane
 * @param {KeyboardEvent} event
 */
export function walkThePlane(plane, event) {
  if (event.key === 'Enter') takeApart(plane);
  const step = ARROWS[event.key];
  if (!step) return;
  event.preventDefault();
  pointAt(plane, planeAt[0] + step[0], planeAt[1] + step[1]);
}
