// The panel of pixels: how often a pixel is read.

import { around, root } from '../common/dom.js';
import { ARROWS, clamp, counted } from '../common/numerals.js';
import { onPanel } from '../common/panel.js';
import { keysOf } from '../common/shortcuts.js';
import { unitsUnder } from './drawings.js';
import { inPanel } from './token-facts.js';
import { pixelAt } from './token-image.js';

/**
 * @typedef {object} PixelFacts
 * @property {number[]} size Of the image.
 * @property {[number, number][][]} reads By axis, how often a pixel is read: [start, count] where it
 *   changes.
 */

/** @type {PixelFacts | null} */
let pixelFacts = null; // of the panel on the screen
/** @type {number[] | null} */
let pixelCursor = null; // row and column of the pixel that is asked about

onPanel((panel) => {
  const home = /** @type {HTMLElement} */ (panel.querySelector('.pixel-panel'));
  pixelFacts = home && JSON.parse(home.dataset.pixels);
  pixelCursor = null;
  if (home) sayPixel(null);
});

/**
 * @param {number} axis
 * @param {number} pixel
 */
function readsOf(axis, pixel) {
  return pixelFacts.reads[axis].findLast(([start]) => start <= pixel)[1];
}

/**
 * Says how often a pixel is read.
 *
 * @param {number[] | null} pixel
 */
function sayPixel(pixel) {
  pixelCursor = pixel;
  const output = inPanel('[data-pixel-output]');
  const cross = inPanel('.pixel-cross');
  if (!pixel) {
    output.textContent = 'Choose a pixel to see how many tokens read it.';
    cross.setAttribute('d', '');
    return;
  }
  const [rows, columns] = pixel.map((at, axis) => readsOf(axis, at));
  const count = rows * columns;
  const words = count ? counted(count, 'token') : '0, never read';
  output.textContent = `pixel (${pixel.join(', ')}): ${rows} × ${columns} = ${words}`;
  const [height, width] = pixelFacts.size;
  const [y, x] = pixel.map((at) => at + 0.5);
  cross.setAttribute('d', `M0 ${y}H${width}M${x} 0V${height}`);
}

root.addEventListener('mousemove', (event) => {
  const stage = around(event)('.pixel-stage');
  if (stage) sayPixel(pixelAt(unitsUnder(stage, event), pixelFacts.size));
});

root.addEventListener('mouseout', (event) => {
  const stage = around(event)('.pixel-stage');
  if (stage && !stage.contains(/** @type {Node} */ (event.relatedTarget))) sayPixel(null);
});

root.addEventListener('keydown', (event) => {
  const arrow = ARROWS[event.key];
  if (!around(event)('.pixel-stage') || (!arrow && event.key !== 'Enter')) return;
  event.preventDefault();
  if (!arrow) return;
  const { size } = pixelFacts;
  const from = pixelCursor ?? size.map((side) => Math.floor(side / 2));
  const step = event.shiftKey ? 16 : 1;
  sayPixel(from.map((at, axis) => clamp(at + step * arrow[axis], size[axis])));
});

keysOf('Pixels', {
  '↑ ↓ ← →': 'move the cursor by a pixel',
  'Shift ↑ ↓ ← →': 'move it by 16',
});
