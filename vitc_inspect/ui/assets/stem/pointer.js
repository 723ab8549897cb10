// One pointer: what one token reads, lit in the strip, and the layer under the pointer, lit everywhere.

import { all, around, one, root, slot } from '../common/dom.js';
import { clamp } from '../common/numerals.js';
import { page } from '../common/page.js';
import { onFilled } from '../common/selection.js';
import { state } from '../common/state.js';

/**
 * @typedef {object} MapFacts Where tokens read a map: token i from i · jump + offset on.
 * @property {number} offset
 * @property {number} jump
 * @property {number} field Positions along one axis.
 * @property {number[]} size Height and width of the map.
 */

/**
 * @typedef {object} StripFacts
 * @property {number[]} grid Rows and columns of tokens.
 * @property {number} stride From a token to the next (pixels).
 * @property {number} prefix Tokens before those of the grid.
 * @property {number[]} first Row and column of the token that is shown first.
 * @property {Record<string, MapFacts>} maps By name of the convolution, and "image".
 */

const SVG = 'http://www.w3.org/2000/svg';

/** @type {{ facts: StripFacts | null, token: number[] | null, layer: string }} */
const pointed = { facts: null, token: null, layer: '' };

/**
 * The facts of a block's map; undefined for one that is no map of the stem.
 *
 * @param {HTMLElement} block
 */
function mapOf(block) {
  const names = block.dataset.layers?.split(' ') ?? ['image'];
  return names.map((name) => pointed.facts?.maps[name]).find(Boolean);
}

/**
 * The place of a block's face in the drawing.
 *
 * @param {HTMLElement} block
 */
function faceOf(block) {
  const frame = one('.frame', block);
  const [x, y, width, height] = ['x', 'y', 'width', 'height'].map((name) =>
    Number(frame.getAttribute(name))
  );
  return { x, y, width, height };
}

/**
 * Draws a shape over a block.
 *
 * @param {HTMLElement} block
 * @param {string} shape
 * @param {string} css
 * @param {Record<string, number>} values
 */
function draw(block, shape, css, values) {
  const mark = document.createElementNS(SVG, shape);
  mark.setAttribute('class', `pointed-mark ${css}`);
  for (const [name, value] of Object.entries(values)) mark.setAttribute(name, value.toFixed(2));
  block.append(mark);
}

/**
 * Draws a box of positions of a map over its block, as far as it lies inside.
 *
 * @param {HTMLElement} block
 * @param {number[]} size Height and width of the map.
 * @param {number[]} start First row and column.
 * @param {number} side Positions along each axis.
 * @param {string} css
 */
function drawBox(block, size, start, side, css) {
  const face = faceOf(block);
  const [from, to] = [start, start.map((at) => at + side)].map((ends) =>
    ends.map((at, axis) => clamp(at, size[axis] + 1))
  );
  const [tall, wide] = [face.height / size[0], face.width / size[1]];
  draw(block, 'rect', css, {
    x: face.x + from[1] * wide,
    y: face.y + from[0] * tall,
    width: Math.max(1, (to[1] - from[1]) * wide),
    height: Math.max(1, (to[0] - from[0]) * tall),
  });
}

/**
 * Draws the square of the stride's grid that belongs to a token, and the centre of what it reads.
 *
 * @param {HTMLElement} block
 * @param {MapFacts} map
 * @param {number[]} token
 */
function drawCell(block, map, token) {
  const { stride } = pointed.facts;
  drawBox(block, map.size, token.map((at) => at * stride), stride, 'pointed-cell');
  const face = faceOf(block);
  const centre = token.map((at) => at * map.jump + map.offset + map.field / 2);
  draw(block, 'circle', 'pointed-centre', {
    cx: face.x + centre[1] * face.width / map.size[1],
    cy: face.y + centre[0] * face.height / map.size[0],
    r: 2,
  });
}

/**
 * Draws a token's row over a block of tokens.
 *
 * @param {HTMLElement} block
 * @param {number[]} token
 */
function drawRow(block, token) {
  const { grid, prefix } = pointed.facts;
  const face = faceOf(block);
  const before = block.dataset.layers.split(' ').includes('tokens') ? 0 : prefix;
  const rows = grid[0] * grid[1] + before;
  const at = before + token[0] * grid[1] + token[1];
  draw(block, 'rect', 'pointed-row', {
    x: face.x - 3,
    y: face.y + at * face.height / rows - 1,
    width: face.width + 6,
    height: Math.max(2, face.height / rows),
  });
}

const SEQUENCES = ['tokens', 'class_token', 'pos_embed'];

/** The token that is chosen; the one that is shown first where none is, or none of the grid. */
function chosenToken() {
  const { grid, first } = pointed.facts;
  const chosen = /^\d+,\d+$/.test(state.token) ? state.token.split(',').map(Number) : first;
  return chosen.every((at, axis) => at < grid[axis]) ? chosen : first;
}

/** Shows what the pointed token reads; where none is, what the chosen one does. */
function show() {
  for (const mark of all('.pointed-mark', slot('strip'))) mark.remove();
  if (!pointed.facts) return;
  const token = pointed.token ?? chosenToken();
  for (const block of all('.strip .block', slot('strip'))) {
    const map = mapOf(block);
    const names = block.dataset.layers?.split(' ') ?? [];
    if (map) {
      const start = token.map((at) => at * map.jump + map.offset);
      drawBox(block, map.size, start, map.field, 'pointed-field');
      if (!names.length) drawCell(block, map, token);
    } else if (names.some((name) => SEQUENCES.includes(name))) drawRow(block, token);
  }
}

/**
 * Points at a token, or at none.
 *
 * @param {number[] | null} token Row and column of the grid.
 */
export function pointAtToken(token) {
  if (String(token) === String(pointed.token)) return;
  pointed.token = token;
  show();
}

/**
 * The token under the pointer over a block, or null.
 *
 * @param {HTMLElement} block
 * @param {MouseEvent} event
 */
function tokenUnder(block, event) {
  const box = one('.frame', block).getBoundingClientRect();
  const share = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
  return tokenAt(block, share);
}

/**
 * The token at a place of a block's map: that whose square or whose window's centre is nearest.
 *
 * @param {HTMLElement} block
 * @param {number[]} share Of the height and the width of the map.
 * @returns {number[] | null}
 */
function tokenAt(block, share) {
  if (share.some((part) => part < 0 || part > 1)) return null;
  const { grid, stride, prefix } = pointed.facts;
  const map = mapOf(block);
  const names = block.dataset.layers?.split(' ') ?? [];
  if (map) {
    const position = share.map((part, axis) => part * map.size[axis]);
    return position.map((at, axis) => {
      const nearest = names.length
        ? Math.round((at - map.offset - map.field / 2) / map.jump)
        : Math.floor(at / stride);
      return clamp(nearest, grid[axis]);
    });
  }
  if (!names.some((name) => SEQUENCES.includes(name))) return null;
  const before = names.includes('tokens') ? 0 : prefix;
  const row = Math.floor(share[0] * (grid[0] * grid[1] + before)) - before;
  return row < 0 ? null : [Math.floor(row / grid[1]), row % grid[1]];
}

/**
 * Lights a layer in the strip, the table and the editor.
 *
 * @param {string} name '' for none.
 */
function pointAtLayer(name) {
  if (name === pointed.layer) return;
  pointed.layer = name;
  for (const part of all('.strip [data-layers], .table [data-layer], [data-row]')) {
    const { layers, layer, row } = part.dataset;
    part.classList.toggle('pointed', (layers ?? layer ?? row).split(' ').includes(name));
  }
}

root.addEventListener('mousemove', (event) => {
  const block = around(event)('.strip .block');
  if (block && pointed.facts) pointAtToken(tokenUnder(block, event));
});

root.addEventListener('mouseover', (event) => {
  const part = around(event)('.strip [data-layers], .table [data-layer], [data-row]');
  pointAtLayer(part?.dataset.layer ?? part?.dataset.row ?? '');
});

root.addEventListener('focusin', (event) => {
  const part = around(event)('.strip [data-layers], .table [data-layer], [data-row]');
  if (part) pointAtLayer(part.dataset.layer ?? part.dataset.row);
});

slot('strip').addEventListener('mouseleave', () => pointAtToken(null));

onFilled('strip', () => {
  const drawing = one('.strip', slot('strip'));
  pointed.facts = drawing?.dataset.facts ? JSON.parse(drawing.dataset.facts) : null;
  pointed.layer = '';
  show();
});

page.pointed = pointAtToken;
page.pointedInMap = (share) => {
  const block = share && pointed.facts &&
    all('.strip .block', slot('strip')).find((each) =>
      each.dataset.layers?.split(' ').includes(state.layer)
    );
  pointAtToken(block ? tokenAt(block, share) : null);
};
