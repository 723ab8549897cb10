// The wall of maps: which map the pointer is on, and the frame around one for the keyboard.

import { one, slot } from '../common/dom.js';
import { ARROWS, clamp, numbersOf } from '../common/numerals.js';
import { page } from '../common/page.js';

let framed = 0; // place of the framed map

/** Begins at the first map. */
export function resetWall() {
  framed = 0;
}

/**
 * The size of a wall's picture, and of the part of it that one map takes, in pixels of the picture.
 *
 * @param {HTMLElement} image
 */
function measuresOf(image) {
  const [columns, count, gap] = numbersOf(image, 'columns', 'count', 'gap');
  const [width, height] = ['width', 'height'].map((name) => Number(image.getAttribute(name)));
  const rows = Math.ceil(count / columns);
  const [across, down] = [(width + gap) / columns, (height + gap) / rows];
  return { columns, count, gap, width, height, across, down };
}

/**
 * The place of the wall that is under the pointer: a map's number, or a token's with its channel;
 * null beside the maps. The share is how far down and across the map, or the sequence, it lies.
 *
 * @param {HTMLElement} image
 * @param {MouseEvent} event
 * @returns {{ index?: number, words: string, share: number[] } | null}
 */
export function placeOn(image, event) {
  const box = image.getBoundingClientRect();
  const { columns, count, gap, width, height, across, down } = measuresOf(image);
  const x = (event.clientX - box.left) * (width / box.width);
  const y = (event.clientY - box.top) * (height / box.height);
  if ('sequence' in image.dataset) {
    const token = Math.floor(y) * Number(image.dataset.step);
    const share = [y / height, x / width];
    return { words: `token ${token}, channel ${Math.floor(x)}`, share };
  }
  const column = Math.floor(x / across);
  const place = Math.floor(y / down) * columns + column;
  if (column >= columns || place >= count) return null;
  const index = mapAt(image, place);
  const share = [(y % down) / (down - gap), (x % across) / (across - gap)];
  return { index, words: `map ${index}`, share };
}

/**
 * The number of the map at a place of the wall.
 *
 * @param {HTMLElement} image
 * @param {number} place
 */
function mapAt(image, place) {
  return image.dataset.order ? Number(image.dataset.order.split(',')[place]) : place;
}

/**
 * Puts the frame around one map.
 *
 * @param {HTMLElement} wall
 * @param {number} place
 */
function frameMap(wall, place) {
  const image = one('img', wall);
  const { columns, count, gap, width, height, across, down } = measuresOf(image);
  framed = clamp(place, count);
  let mark = one('.cursor', wall);
  if (!mark) {
    mark = document.createElement('i');
    mark.className = 'cursor';
    wall.append(mark);
  }
  Object.assign(mark.style, {
    left: `${(100 * (framed % columns) * across) / width}%`,
    top: `${(100 * Math.floor(framed / columns) * down) / height}%`,
    width: `${(100 * (across - gap)) / width}%`,
    height: `${(100 * (down - gap)) / height}%`,
  });
  one('.hover', wall.closest('figure')).textContent = `map ${mapAt(image, framed)}`;
}

/**
 * @param {HTMLElement} wall
 * @param {KeyboardEvent} event
 */
export function walkTheWall(wall, event) {
  const image = one('img', wall);
  if ('sequence' in image.dataset) return;
  if (event.key === 'Enter') page.selectCell(String(mapAt(image, framed)), 'maps');
  const step = ARROWS[event.key];
  if (!step) return;
  event.preventDefault();
  const next = framed + step[0] * Number(image.dataset.columns) + step[1];
  frameMap(wall, one('.cursor', wall) ? next : 0);
}

/**
 * Finds a map by its index: framed while it is typed, large on Enter.
 *
 * @param {HTMLInputElement} input
 * @param {boolean} open
 */
export function findMap(input, open) {
  const image = one('.wall img', slot('panel'));
  const index = input.value.trim() === '' ? NaN : Number(input.value);
  const count = Number(image?.dataset.count);
  const known = Number.isInteger(index) && index >= 0 && index < count;
  const wrong = Boolean(image) && input.value.trim() !== '' && !known;
  input.setAttribute('aria-invalid', String(wrong));
  if (!known) return;
  if (open) return page.selectCell(String(index), 'maps');
  const order = image.dataset.order?.split(',').map(Number);
  frameMap(image.closest('.wall'), order ? order.indexOf(index) : index);
}
