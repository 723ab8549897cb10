// The order of the tokens: where the numbers of a cell go in each sequence, and where they come from.

import { all, one, slot } from '../common/dom.js';
import { clamp, counted } from '../common/numerals.js';
import { inPanel, tokenFacts } from './token-facts.js';

/** @typedef {[number, number]} Span First place, and the one behind the last. */

/**
 * The places of a cell in each way, and the cells of a place; the server has tried these rules out.
 *
 * @type {Record<string, Record<'places' | 'cells', (number: number) => Span[]>>}
 */
const WAYS = {
  'rows first': {
    places: (cell) => [[cell, cell + 1]],
    cells: (place) => [[place, place + 1]],
  },
  'columns first': {
    places: (cell) => {
      const [rows, columns] = tokenFacts().grid;
      const place = (cell % columns) * rows + Math.floor(cell / columns);
      return [[place, place + 1]];
    },
    cells: (place) => {
      const [rows, columns] = tokenFacts().grid;
      const cell = (place % rows) * columns + Math.floor(place / rows);
      return [[cell, cell + 1]];
    },
  },
  'reshape alone': {
    places: (cell) => { // number `cell + map * cells` of memory lies in one token
      const { channels } = tokenFacts();
      const count = cellCount();
      /** @type {Set<number>} */
      const found = new Set();
      for (let map = 0; map < channels && found.size < count; map += 1) {
        found.add(Math.floor((map * count + cell) / channels));
      }
      return [...found].sort((a, b) => a - b).map((place) => [place, place + 1]);
    },
    cells: (place) => {
      const { channels } = tokenFacts();
      const count = cellCount();
      const begin = (place * channels) % count;
      const end = begin + channels;
      if (channels >= count) return [[0, count]];
      return end <= count ? [[begin, end]] : [[0, end - count], [begin, count]];
    },
  },
};

function cellCount() {
  const [rows, columns] = tokenFacts().grid;
  return rows * columns;
}

/**
 * The first place of a cell in the sequence of a line.
 *
 * @param {HTMLElement} line
 * @param {number[]} cell Row and column.
 */
export function firstPlace(line, [row, column]) {
  const way = /** @type {HTMLElement} */ (line.closest('.token-way')).dataset.way;
  return WAYS[way].places(row * tokenFacts().grid[1] + column)[0][0];
}

/** @param {Span[]} spans */
function totalOf(spans) {
  return spans.reduce((sum, [from, to]) => sum + to - from, 0);
}

/** @param {number} number */
function cellInWords(number) {
  const columns = tokenFacts().grid[1];
  return `(${Math.floor(number / columns)}, ${number % columns})`;
}

/**
 * Outlines of stretches of cells, counted row by row.
 *
 * @param {Span[]} spans
 */
function cellPath(spans) {
  const columns = tokenFacts().grid[1];
  let path = '';
  for (const [from, to] of spans) {
    for (let at = from; at < to;) {
      const row = Math.floor(at / columns);
      const whole = at % columns === 0 ? Math.floor((to - at) / columns) : 0;
      const next = whole ? at + whole * columns : Math.min(to, (row + 1) * columns);
      const [left, right] = [at % columns, whole ? columns : (next - 1) % columns + 1];
      path += `M${left} ${row}H${right}V${row + Math.max(1, whole)}H${left}z`;
      at = next;
    }
  }
  return path;
}

/**
 * Marks on a line of places, wide enough to be seen.
 *
 * @param {Span[]} spans
 * @param {HTMLElement} line
 */
function placePath(spans, line) {
  const count = cellCount();
  const least = 2.5 * count / Math.max(1, line.clientWidth);
  const top = spans.length > 1 ? 0.65 : 0; // so many would hide the colours
  let path = '';
  let reached = -1;
  for (const [from, to] of spans) {
    const grow = Math.max(0, (least - (to - from)) / 2);
    const [left, right] = [Math.max(0, from - grow), Math.min(count, to + grow)];
    if (right - reached < least / 3) continue; // drawn already
    path += `M${left} ${top}H${right}V1H${left}z`;
    reached = right;
  }
  return path;
}

/** The sequences of the panel, each with its line. */
function sequences() {
  return all('.token-way', slot('panel')).map((way) => ({ way, line: one('.token-line', way) }));
}

/**
 * Lights up a cell on the map and where its numbers go in each sequence.
 *
 * @param {number[]} cell Row and column.
 */
export function followCell([row, column]) {
  const cell = row * tokenFacts().grid[1] + column;
  inPanel('.token-map path').setAttribute('d', cellPath([[cell, cell + 1]]));
  const said = sequences().map(({ way, line }) => {
    const places = WAYS[way.dataset.way].places(cell);
    one('path', line).setAttribute('d', placePath(places, line));
    const words = places.length === 1
      ? `place ${places[0][0].toLocaleString('en')}`
      : counted(places.length, 'place');
    return `${way.dataset.way}: ${words}`;
  });
  sayOrder(`cell (${row}, ${column})`, said);
}

/**
 * Lights up a place of one sequence and the cells its numbers come from.
 *
 * @param {HTMLElement} way
 * @param {number} place
 */
export function followPlace(way, place) {
  const cells = WAYS[way.dataset.way].cells(place);
  for (const { way: other, line } of sequences()) {
    const marks = other === way ? placePath([[place, place + 1]], line) : '';
    one('path', line).setAttribute('d', marks);
  }
  inPanel('.token-map path').setAttribute('d', cellPath(cells));
  const count = totalOf(cells);
  const from = count === 1 ? `cell ${cellInWords(cells[0][0])}` : counted(count, 'cell');
  sayOrder(`place ${place.toLocaleString('en')}`, [
    way.dataset.way,
    `${counted(tokenFacts().channels, 'number')} of ${from}`,
  ]);
}

/**
 * @param {string} title
 * @param {string[]} words Lines below it.
 */
function sayOrder(title, words) {
  const head = document.createElement('b');
  head.textContent = title;
  const below = words.flatMap((line) => [document.createElement('br'), line]);
  inPanel('[data-order-output]').replaceChildren(head, ...below);
}

/**
 * Row and column of the cell under the pointer.
 *
 * @param {HTMLElement} map
 * @param {MouseEvent} event
 */
export function gridCellUnder(map, event) {
  const box = map.getBoundingClientRect();
  const shares = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
  const { grid } = tokenFacts();
  return shares.map((share, axis) => clamp(Math.floor(share * grid[axis]), grid[axis]));
}

/**
 * The place under the pointer.
 *
 * @param {HTMLElement} line
 * @param {MouseEvent} event
 */
export function placeUnder(line, event) {
  const box = line.getBoundingClientRect();
  const count = cellCount();
  return clamp(Math.floor((event.clientX - box.left) / box.width * count), count);
}
