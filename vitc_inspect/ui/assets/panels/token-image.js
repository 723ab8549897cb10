// Tokens over the image: which is under the pointer, and which read a pixel.

import { all, slot } from '../common/dom.js';
import { counted, numbersOf } from '../common/numerals.js';
import { inPanel, tokenFacts } from './token-facts.js';

const MOST_MARKS = 1200; // tokens marked at once; of more only some are drawn

/** @typedef {number[]} Place Row and column of a token, or of a pixel. */

const overImage = {
  kind: 'heat', // what lies over the image: "heat", "likeness" or "bare"
  /** @type {Place | null} */
  pixel: null, // whose readers are marked
};

/** Begins with no pixel, and with what lay over the image before. */
export function resetOver() {
  overImage.pixel = null;
  showOver(overImage.kind);
}

/** The pixel whose readers are marked; null for none. */
export function markedPixel() {
  return overImage.pixel;
}

/**
 * Shows something else over the image.
 *
 * @param {string} kind "heat", "likeness" or "bare".
 */
export function showOver(kind) {
  overImage.kind = kind;
  inPanel('.token-panel').dataset.shown = kind;
  for (const button of all('[data-token-over]', slot('panel'))) {
    button.setAttribute('aria-pressed', String(button.dataset.tokenOver === kind));
  }
}

/**
 * The token whose point is under the pointer, or null between the points.
 *
 * @param {number[]} point
 * @param {HTMLElement} stage The drawing.
 * @returns {Place | null}
 */
export function tokenAt(point, stage) {
  const { first, stride, grid } = tokenFacts();
  const [unit, apart] = numbersOf(stage, 'unit', 'apart');
  const pitch = stride * apart;
  const place = point.map((at, axis) => apart * Math.round((at - first[axis]) / pitch));
  if (place.some((index, axis) => index < 0 || index >= grid[axis])) return null;
  const away = Math.hypot(...point.map((at, axis) => at - first[axis] - place[axis] * stride));
  return away <= Math.min(7 * unit, 0.38 * pitch) ? place : null;
}

/**
 * The pixel at a point, or null beside the image.
 *
 * @param {number[]} point
 * @param {number[]} size
 * @returns {Place | null}
 */
export function pixelAt(point, size) {
  const pixel = point.map(Math.floor);
  return pixel.every((at, axis) => at >= 0 && at < size[axis]) ? pixel : null;
}

/**
 * Rows, or columns, of tokens that read a pixel.
 *
 * @param {number} axis
 * @param {number} pixel
 */
function readersOf(axis, pixel) {
  const [, ...stretches] = tokenFacts().readers[axis].findLast(([start]) => start <= pixel);
  const found = [];
  for (let i = 0; i < stretches.length; i += 3) {
    for (let at = stretches[i]; at <= stretches[i + 1]; at += stretches[i + 2]) found.push(at);
  }
  return found;
}

/**
 * Which tokens read a pixel, in words.
 *
 * @param {Place} pixel
 */
export function readersInWords(pixel) {
  const name = `pixel (${pixel.join(', ')})`;
  if (tokenFacts().readers.includes(null)) return name;
  const [rows, columns] = pixel.map((at, axis) => readersOf(axis, at).length);
  if (!rows || !columns) return `${name}: no token reads it`;
  return `${name}: read by ${rows} × ${columns} = ${counted(rows * columns, 'token')}`;
}

/**
 * Says something below the image.
 *
 * @param {string} words
 */
export function sayOfToken(words) {
  const output = inPanel('[data-token-output]');
  if (output.textContent !== words) output.textContent = words;
}

/**
 * Marks the tokens that read a pixel, all of them or evenly some.
 *
 * @param {Place} pixel
 */
export function markReaders(pixel) {
  overImage.pixel = pixel;
  const stage = inPanel('.token-stage');
  const unit = Number(stage.dataset.unit);
  const side = 5 * unit;
  const [y, x] = pixel.map((at) => at + 0.5 - side / 2);
  for (const [name, value] of Object.entries({ y, x, width: side, height: side })) {
    inPanel('.token-pixel').setAttribute(name, String(value));
  }
  const known = !tokenFacts().readers.includes(null);
  const { path, apart } = known ? readersPath(pixel, unit) : { path: '', apart: 1 };
  inPanel('.token-readers').setAttribute('d', path);
  let words = readersInWords(pixel);
  if (!known) words += ': its readers are too many to send';
  else if (apart > 1) words += `, marked ${apart} apart`;
  sayOfToken(words);
}

/**
 * Circles around the tokens that read a pixel, and how many tokens apart they are.
 *
 * @param {Place} pixel
 * @param {number} unit Of the drawing, for a pixel of the screen.
 */
function readersPath(pixel, unit) {
  const { first, stride } = tokenFacts();
  const [rows, columns] = pixel.map((at, axis) => readersOf(axis, at));
  const apart = Math.ceil(Math.sqrt(rows.length * columns.length / MOST_MARKS));
  const radius = Math.min(5.5 * unit, 0.42 * stride);
  const half = `a${radius} ${radius} 0 1 0 `;
  let path = '';
  for (let i = 0; i < rows.length; i += apart) {
    for (let j = 0; j < columns.length; j += apart) {
      const [y, x] = [first[0] + rows[i] * stride, first[1] + columns[j] * stride - radius];
      path += `M${x} ${y}${half}${2 * radius} 0${half}${-2 * radius} 0`;
    }
  }
  return { path, apart };
}
