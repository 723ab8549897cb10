// The window of a convolution sliding over its input: where it is, and playing it.

import { all, one } from '../common/dom.js';
import { clamp, withMinus } from '../common/numerals.js';

/** @typedef {number[]} Place Row and column. */

/**
 * The convolution on the screen, as data-cell-slide says it, and where its window is.
 *
 * @typedef {object} Slide
 * @property {HTMLElement} home
 * @property {number} channel
 * @property {number | null} given Input channel that is shown; null where there is one alone.
 * @property {number} taps Of the kernel along an axis.
 * @property {number} stride
 * @property {number} padding
 * @property {number} dilation
 * @property {Place} size Of the input.
 * @property {Place} cells Of the output.
 * @property {Place} chosen The cell that the panel is about.
 * @property {Place} at The cell that the window stands on.
 * @property {Place | null} hover The cell under the pointer.
 * @property {HTMLElement | null} hoveredLens
 * @property {number} span Rows that the window spans, dilation included.
 */

/** @type {{ slide: Slide | null, timer: number, speed: number }} */
const player = {
  slide: null,
  timer: 0, // of the next step; 0 while nothing plays
  speed: 8, // cells a second
};

/** The convolution on the screen, or null. */
export function currentSlide() {
  return player.slide;
}

/**
 * Begins with the convolution of a panel; null for a panel without one.
 *
 * @param {HTMLElement | null} home
 * @returns {Slide | null}
 */
export function beginSlide(home) {
  stopSlide();
  player.slide = null;
  if (!home) return null;
  const facts = JSON.parse(home.dataset.cellSlide);
  const span = (facts.taps - 1) * facts.dilation + 1;
  const slide = { home, ...facts, hover: null, hoveredLens: null, at: facts.chosen, span };
  player.slide = slide;
  for (const lens of all('.cell-lens', home)) { // a <use> would lose the style sheet
    const still = one('[data-cell-still]', one(focusOf(lens), home));
    lens.prepend(still.cloneNode(true));
  }
  markSpeed();
  drawSlide();
  return slide;
}

/**
 * The selector of a plane, by which it gets the focus back.
 *
 * @param {HTMLElement} plane
 */
export function focusOf(plane) {
  return `.cell-plane[data-cell-plane=${plane.dataset.cellPlane}]`;
}

// First row and column of the input that a cell reads, below 0 in the padding.
/** @param {Place} cell */
function slideWindow([row, column]) {
  const { stride, padding } = player.slide;
  return [row, column].map((place) => place * stride - padding);
}

/** Draws the window where it is, and says what it reads. */
export function drawSlide() {
  const { home, chosen, span, hover, at, taps } = player.slide;
  const here = hover ?? at;
  const [top, left] = slideWindow(here);
  const moved = here.some((place, axis) => place !== chosen[axis]);
  for (const mark of all('[data-cell-at]', home)) {
    const [y, x] = mark.dataset.cellAt === 'in' ? [top, left] : here;
    mark.style.transform = `translate(${x}px, ${y}px)`;
  }
  for (const lens of all('.cell-lens', home)) {
    const input = lens.dataset.cellPlane === 'in';
    panLens(lens, input ? [top, left] : here, input ? span : 1);
  }
  /** @type {(name: string, words: string) => void} */
  const tell = (name, words) => {
    one(`[data-cell-${name}]`, home).textContent = words;
  };
  tell('here', `row ${here[0]}, column ${here[1]} reads`);
  tell('padded', paddedTaps(top, left));
  const s = taps === 1 ? '' : 's';
  tell('read', `row${s} ${tapPositions(top)}, column${s} ${tapPositions(left)}`);
  one('[data-cell-take]', home).hidden = !moved;
  home.classList.toggle('cell-moved', moved);
}

/**
 * Moves a lens no further than it must to hold the window with a little around it.
 *
 * @param {HTMLElement} lens
 * @param {Place} place First row and column of the window.
 * @param {number} span
 */
function panLens(lens, place, span) {
  const [rows, columns] = [Number(lens.dataset.rows), Number(lens.dataset.columns)];
  const [left, top, width, height] = lens.dataset.box.split(',').map(Number);
  const { hoveredLens, stride } = player.slide;
  if (hoveredLens === lens && lens.hasAttribute('viewBox')) return; // it stays under the pointer
  const before = lens.getAttribute('viewBox')?.split(' ').map(Number);
  /** @type {(at: number, shown: number, start: number, size: number, old?: number) => number} */
  const along = (at, shown, start, size, old) => {
    if (shown >= size) return start - (shown - size) / 2;
    const margin = Math.min(span === 1 ? 1 : stride, (shown - span) / 2);
    const centred = at + span / 2 - shown / 2;
    const kept = old === undefined
      ? centred
      : Math.min(at - margin, Math.max(at + span + margin - shown, old));
    return Math.min(start + size - shown + 0.5, Math.max(start - 0.5, kept));
  };
  const y = along(place[0], rows, top, height, before?.[1]);
  const x = along(place[1], columns, left, width, before?.[0]);
  lens.setAttribute('viewBox', `${x} ${y} ${columns} ${rows}`);
}

/**
 * The positions that the taps read along an axis.
 *
 * @param {number} start The first of them.
 */
function tapPositions(start) {
  const { taps, dilation } = player.slide;
  const last = withMinus(start + (taps - 1) * dilation);
  if (taps === 1) return last;
  if (dilation === 1) return `${withMinus(start)}…${last}`;
  if (taps > 4) return `${withMinus(start)}, ${withMinus(start + dilation)} … ${last}`;
  return Array.from({ length: taps }, (_, tap) => withMinus(start + tap * dilation)).join(', ');
}

/**
 * How many taps lie in the padding, in words.
 *
 * @param {...number} starts First row and column of the window.
 */
function paddedTaps(...starts) {
  const { taps, dilation, size } = player.slide;
  const inside = starts.map((start, axis) => { // from the first tap that is on the map to the last
    const first = Math.max(0, Math.ceil(-start / dilation));
    const last = Math.min(taps - 1, Math.floor((size[axis] - 1 - start) / dilation));
    return Math.max(0, last - first + 1);
  });
  const padded = taps * taps - inside[0] * inside[1];
  return padded ? `${padded} of ${taps * taps} taps padded` : '';
}

/**
 * Moves the window by rows and columns of cells.
 *
 * @param {number} rows
 * @param {number} columns
 */
export function moveSlide(rows, columns) {
  stopSlide();
  const { slide } = player;
  const [row, column] = slide.at;
  slide.at = [row + rows, column + columns].map((place, axis) => clamp(place, slide.cells[axis]));
  slide.hover = null;
  drawSlide();
}

/**
 * Moves the window on in reading order, and from the last cell to the first.
 *
 * @param {number} by Cells.
 */
export function stepSlide(by) {
  const { slide } = player;
  const [rows, columns] = slide.cells;
  const count = rows * columns;
  const next = (slide.at[0] * columns + slide.at[1] + by + count) % count;
  slide.at = [Math.floor(next / columns), next % columns];
  drawSlide();
}

/**
 * The window follows the pointer, and plays on from there.
 *
 * @param {HTMLElement | null} plane What the pointer is on; null beside the planes.
 * @param {Place | null} cell
 */
export function hoverSlide(plane, cell) {
  const { slide } = player;
  slide.hover = cell;
  slide.hoveredLens = plane;
  if (cell && player.timer) slide.at = cell;
  drawSlide();
}

/** Plays the window, or stops it. */
export function playSlide() {
  if (player.timer) return stopSlide();
  const { home } = player.slide;
  const tick = () => {
    if (!home.isConnected || player.slide?.home !== home) return stopSlide();
    if (!player.slide.hover) stepSlide(1);
    player.timer = setTimeout(tick, 1000 / player.speed);
  };
  player.timer = setTimeout(tick, 0);
  markPlaying();
}

/** Stops the window. */
export function stopSlide() {
  clearTimeout(player.timer);
  player.timer = 0;
  if (player.slide) markPlaying();
}

/** @param {number} speed Cells a second. */
export function setSpeed(speed) {
  player.speed = speed;
  markSpeed();
}

function markPlaying() {
  const { slide, timer } = player;
  const button = one('[data-cell-do=play]', slide.home);
  const title = timer ? 'pause' : 'play';
  one('path', button).setAttribute('d', timer ? 'M3 2h3v10H3zM8 2h3v10H8z' : 'M4 2l8 5-8 5z');
  button.setAttribute('aria-label', title);
  button.title = title;
  markGliding();
}

function markSpeed() {
  for (const button of all('[data-cell-speed]', player.slide.home)) {
    const own = Number(button.dataset.cellSpeed) === player.speed;
    button.setAttribute('aria-pressed', String(own));
  }
  markGliding();
}

function markGliding() {
  const { slide, timer, speed } = player;
  slide.home.classList.toggle('cell-gliding', timer !== 0 && speed < 20);
}
