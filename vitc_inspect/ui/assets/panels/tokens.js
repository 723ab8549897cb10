// The panel of tokens: what a person does over the image, on the map, and on the sequences.

import { around, focusedElement, one, root } from '../common/dom.js';
import { ARROWS, clamp } from '../common/numerals.js';
import { page } from '../common/page.js';
import { onPanel } from '../common/panel.js';
import { keysOf } from '../common/shortcuts.js';
import { unitsUnder } from './drawings.js';
import './pixels.js';
import { inPanel, readTokenFacts, tokenFacts } from './token-facts.js';
import {
  markedPixel,
  markReaders,
  pixelAt,
  readersInWords,
  resetOver,
  sayOfToken,
  showOver,
  tokenAt,
} from './token-image.js';
import { firstPlace, followCell, followPlace, gridCellUnder, placeUnder } from './token-order.js';

const ROWS_LINE = '[data-way="rows first"] .token-line';

const keyboard = {
  token: [0, 0], // row and column of the token the arrow keys stand on
  place: 0, // of the sequence they stand on
  /** @type {string | null} */
  focus: null, // selector of what had the keyboard when a token was chosen
};

onPanel((panel) => {
  const facts = readTokenFacts(one('.token-panel', panel));
  if (!facts) return;
  keyboard.token = [...facts.chosen];
  resetOver();
  sayToken();
  followCell(facts.chosen);
  if (keyboard.focus && focusedElement() === document.body) {
    one(keyboard.focus, panel)?.focus({ preventScroll: true });
  }
});

function sayToken() {
  const [row, column] = keyboard.token;
  const { grid, prefix, chosen } = tokenFacts();
  if (row === chosen[0] && column === chosen[1]) {
    const pixel = markedPixel();
    return sayOfToken(
      pixel ? readersInWords(pixel) : 'Choose a point for its field, a pixel for its readers.',
    );
  }
  const number = row * grid[1] + column;
  const place = prefix
    ? `, place ${(number + prefix).toLocaleString('en')} behind the class token`
    : '';
  sayOfToken(`token (${row}, ${column}), number ${number.toLocaleString('en')}${place}`);
}

/** @param {number[]} place Row and column of a token. */
function moveCursor(place) {
  keyboard.token = place;
  const { first, stride } = tokenFacts();
  const cursor = inPanel('.token-cursor');
  cursor.setAttribute('cy', String(first[0] + place[0] * stride));
  cursor.setAttribute('cx', String(first[1] + place[1] * stride));
  followCell(place);
  sayToken();
  page.pointed(place);
}

/**
 * @param {(number | string)[]} place Row and column of a token.
 * @param {string | null} focus Selector of what keeps the keyboard.
 */
function chooseToken(place, focus) {
  keyboard.focus = focus;
  if (focus) inPanel(focus)?.focus({ preventScroll: true });
  page.selectToken(place.join(','));
}

/** @param {number} place Of the sequence with the rows first. */
function choosePlace(place) {
  const columns = tokenFacts().grid[1];
  chooseToken([Math.floor(place / columns), place % columns], ROWS_LINE);
}

/**
 * @param {HTMLElement} stage
 * @param {MouseEvent} event
 */
function pointOver(stage, event) {
  const point = unitsUnder(stage, event);
  const token = tokenAt(point, stage);
  const pixel = pixelAt(point, tokenFacts().size);
  stage.classList.toggle('on-token', Boolean(token));
  if (token) moveCursor(token);
  else if (pixel) sayOfToken(readersInWords(pixel));
  else sayOfToken('padding: zeros around the image');
}

root.addEventListener('mousemove', (event) => {
  const on = around(event);
  const [stage, map, line] = ['.token-stage', '[data-token-map]', '.token-line'].map(on);
  if (stage) pointOver(stage, event);
  if (map) moveCursor(gridCellUnder(map, event));
  if (line) followPlace(on('.token-way'), placeUnder(line, event));
});

root.addEventListener('mouseout', (event) => {
  const left = around(event)('.token-stage, [data-token-map], .token-line');
  if (!left || left.contains(/** @type {Node} */ (event.relatedTarget))) return;
  moveCursor([...tokenFacts().chosen]);
});

root.addEventListener('click', (event) => {
  const on = around(event);
  if (on('[data-token-over]')) return showOver(on('[data-token-over]').dataset.tokenOver);
  if (on('[data-token-go]')) {
    return chooseToken(on('[data-token-go]').dataset.tokenGo.split(','), null);
  }
  const map = on('[data-token-map]');
  if (map) return chooseToken(gridCellUnder(map, event), '[data-token-map]');
  if (on(ROWS_LINE)) return choosePlace(placeUnder(on(ROWS_LINE), event));
  const stage = on('.token-stage');
  if (!stage) return;
  const point = unitsUnder(stage, event);
  const token = tokenAt(point, stage);
  const pixel = pixelAt(point, tokenFacts().size);
  if (token) chooseToken(token, '.token-stage');
  else if (pixel) markReaders(pixel);
});

root.addEventListener('keydown', (event) => {
  const home = around(event)('.token-stage, [data-token-map], .token-line');
  const arrow = ARROWS[event.key];
  if (!home || (!arrow && event.key !== 'Enter')) return;
  event.preventDefault();
  if (home.matches('.token-line')) return keyOnLine(home, arrow, event.shiftKey ? 10 : 1);
  const overTheImage = home.matches('.token-stage');
  if (!arrow) {
    return chooseToken(keyboard.token, overTheImage ? '.token-stage' : '[data-token-map]');
  }
  if (event.shiftKey && overTheImage) return movePixel(arrow);
  const { grid } = tokenFacts();
  moveCursor(keyboard.token.map((at, axis) => clamp(at + arrow[axis], grid[axis])));
});

/**
 * Marks the readers of the next pixel.
 *
 * @param {[number, number]} arrow
 */
function movePixel(arrow) {
  const { first, stride, size, chosen } = tokenFacts();
  const centre = chosen.map((at, axis) => clamp(Math.floor(first[axis] + at * stride), size[axis]));
  const from = markedPixel() ?? centre;
  markReaders(from.map((at, axis) => clamp(at + arrow[axis], size[axis])));
}

/**
 * @param {HTMLElement} line
 * @param {[number, number] | undefined} arrow Undefined for Enter.
 * @param {number} step
 */
function keyOnLine(line, arrow, step) {
  const way = /** @type {HTMLElement} */ (line.closest('.token-way'));
  const [rows, columns] = tokenFacts().grid;
  if (arrow) keyboard.place = clamp(keyboard.place + step * (arrow[0] + arrow[1]), rows * columns);
  else if (way.dataset.way === 'rows first') return choosePlace(keyboard.place);
  followPlace(way, keyboard.place);
}

root.addEventListener('focusin', (event) => {
  const line = around(event)('.token-line');
  if (line) keyboard.place = firstPlace(line, tokenFacts().chosen);
});

keysOf('Tokens', {
  '↑ ↓ ← →': 'move the cursor; on a sequence ← →',
  'Shift ↑ ↓ ← →': 'move by pixels, on a sequence by 10',
  'Enter': 'choose the token',
});
