// A part of the page, text and tables and pictures alike, as SVG: each thing where the screen has it.

import { drawText } from './drawn-text.js';
import { standalone, svgOf } from './standalone-svg.js';

/** What only the screen needs: controls, and what follows a pointer. */
const LEFT_OUT = 'select, input, textarea, progress, dialog, .cursor, .hover, .unseen-words, ' +
  '.cell-controls, .token-switch, .token-output, .map-steps, .reach-prefix, [data-map], ' +
  '[data-cell-take], [data-cell-order], [data-cell-more], .cell-said, [data-unsaved]';
const SIDES = ['top', 'right', 'bottom', 'left'];

/**
 * Draws an element and all that is seen in it.
 *
 * @param {Element} part
 * @returns {{ svg: Element, width: number, height: number }} A group with its corner at 0, and its
 *   size in CSS pixels.
 */
export function drawn(part) {
  const box = part.getBoundingClientRect();
  const svg = svgOf('g');
  draw(part, [box.left, box.top], svg);
  return { svg, width: box.width, height: box.height };
}

/**
 * @param {Node} node
 * @param {number[]} from The corner, in the window.
 * @param {Element} into
 */
function draw(node, from, into) {
  if (node.nodeType === Node.TEXT_NODE) return drawText(/** @type {Text} */ (node), from, into);
  if (!(node instanceof Element) || node.matches(LEFT_OUT) || !node.checkVisibility()) return;
  const style = getComputedStyle(node);
  const home = style.opacity === '1' ? into : svgOf('g', { opacity: style.opacity });
  if (home !== into) into.append(home);
  const { left, top, width, height } = node.getBoundingClientRect();
  const box = { x: left - from[0], y: top - from[1], width, height };
  if (!node.matches('button') || node.closest('.cell-list')) drawBox(box, style, home);
  drawBar(node, box, style, home);
  if (node instanceof SVGSVGElement) return drawSvg(node, box, style, home);
  if (node instanceof HTMLImageElement) return drawImage(node.src, box, style, home);
  if (node instanceof HTMLCanvasElement) return drawImage(node.toDataURL(), box, style, home);
  for (const child of node.childNodes) draw(child, from, home);
}

/** @typedef {{ x: number, y: number, width: number, height: number }} Box */

/**
 * @param {string} href
 * @param {Box} box
 * @param {CSSStyleDeclaration} style
 * @param {Element} into
 */
function drawImage(href, box, style, into) {
  const attributes = { href, ...box, preserveAspectRatio: 'none' };
  const pixels = style.imageRendering === 'pixelated' ? { 'image-rendering': 'pixelated' } : {};
  into.append(svgOf('image', { ...attributes, ...pixels }));
}

/**
 * @param {SVGSVGElement} node
 * @param {Box} box
 * @param {CSSStyleDeclaration} style
 * @param {Element} into
 */
function drawSvg(node, box, style, into) {
  const copy = standalone(node);
  const edge = SIDES.map((side) =>
    lengthOf(style, `border-${side}-width`) + lengthOf(style, `padding-${side}`)
  );
  const place = {
    x: box.x + edge[3],
    y: box.y + edge[0],
    width: box.width - edge[1] - edge[3],
    height: box.height - edge[0] - edge[2],
    overflow: style.overflow === 'visible' ? 'visible' : 'hidden',
  };
  for (const [key, value] of Object.entries(place)) copy.setAttribute(key, String(value));
  into.append(copy);
}

/**
 * Background, borders and outline of an element.
 *
 * @param {Box} box
 * @param {CSSStyleDeclaration} style
 * @param {Element} into
 */
function drawBox(box, style, into) {
  const rx = parseFloat(style.borderTopLeftRadius) || 0;
  for (const fill of [style.backgroundColor, gradientOf(style, into)]) {
    if (fill && !isClear(fill)) into.append(svgOf('rect', { ...box, rx, fill }));
  }
  if (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth)) {
    drawOutline(box, style, into);
  }
  const corners = cornersOf(box);
  SIDES.forEach((side, i) => {
    const width = lengthOf(style, `border-${side}-width`);
    const stroke = style.getPropertyValue(`border-${side}-color`);
    const none = style.getPropertyValue(`border-${side}-style`) === 'none';
    if (!width || none || isClear(stroke)) return;
    const [[x1, y1], [x2, y2]] = [corners[i], corners[(i + 1) % 4]];
    const [right, down] = [[0, 1], [-1, 0], [0, -1], [1, 0]][i].map((way) => way * width / 2);
    const ends = { x1: x1 + right, y1: y1 + down, x2: x2 + right, y2: y2 + down };
    into.append(svgOf('line', { ...ends, stroke, 'stroke-width': width }));
  });
}

/**
 * @param {CSSStyleDeclaration} style
 * @param {string} name
 */
function lengthOf(style, name) {
  return parseFloat(style.getPropertyValue(name)) || 0;
}

/** @param {Box} box */
function cornersOf({ x, y, width, height }) {
  return [[x, y], [x + width, y], [x + width, y + height], [x, y + height]];
}

/**
 * @param {Box} box
 * @param {CSSStyleDeclaration} style
 * @param {Element} into
 */
function drawOutline({ x, y, width, height }, style, into) {
  const stroke = parseFloat(style.outlineWidth);
  const off = parseFloat(style.outlineOffset) + stroke / 2;
  const at = { x: x - off, y: y - off, width: width + 2 * off, height: height + 2 * off };
  const look = { fill: 'none', stroke: style.outlineColor, 'stroke-width': stroke };
  into.append(svgOf('rect', { ...at, ...look }));
}

/**
 * The bar that a style sheet puts into a cell of a table.
 *
 * @param {Element} node
 * @param {Box} box
 * @param {CSSStyleDeclaration} style
 * @param {Element} into
 */
function drawBar(node, box, style, into) {
  const bar = getComputedStyle(node, '::before');
  if (bar.content === 'none' || bar.position !== 'absolute') return;
  const [left, top, width, height] = ['left', 'top', 'width', 'height'].map((name) =>
    parseFloat(bar.getPropertyValue(name))
  );
  const edge = [style.borderLeftWidth, style.borderTopWidth].map(parseFloat);
  const at = { x: box.x + edge[0] + left, y: box.y + edge[1] + top, width, height };
  drawBox(at, bar, into);
}

/** @param {string} colour As it is computed. */
function isClear(colour) {
  return colour === 'none' || /^rgba\(.*, 0\)$/.test(colour) || colour === 'transparent';
}

/**
 * The address of a background's gradient; empty where there is none.
 *
 * @param {CSSStyleDeclaration} style
 * @param {Element} into
 */
function gradientOf(style, into) {
  const words = style.backgroundImage.match(/^(repeating-)?linear-gradient\((.*)\)$/);
  if (!words) return '';
  const stops = [...words[2].matchAll(/(rgba?\([^)]*\)|color\([^)]*\))\s*([\d.]+%)?/g)];
  if (!stops.length) return '';
  const id = `gradient-${hashOf(words[0])}`; // the same in every file
  into.append(words[1] ? hatch(id, plain(stops[0][1])) : along(id, stops));
  return `url(#${id})`;
}

/**
 * A colour in words that every program reads.
 *
 * @param {string} colour As it is computed.
 */
function plain(colour) {
  if (!colour.startsWith('color(srgb ')) return colour;
  const [red, green, blue, alpha = 1] = colour.match(/[\d.]+(?:e-\d+)?/g).map(Number);
  return `rgba(${[red, green, blue].map((part) => Math.round(255 * part))}, ${alpha})`;
}

/** @param {string} words */
function hashOf(words) {
  return [...words].reduce((sum, letter) => (31 * sum + letter.charCodeAt(0)) >>> 0, 7);
}

/**
 * @param {string} id
 * @param {RegExpMatchArray[]} stops
 */
function along(id, stops) {
  const last = Math.max(1, stops.length - 1);
  const inside = stops.map(([, colour, place], i) =>
    svgOf('stop', { offset: place ?? `${(100 * i) / last}%`, 'stop-color': plain(colour) })
  );
  return svgOf('linearGradient', { id }, ...inside);
}

/**
 * @param {string} id
 * @param {string} stroke
 */
function hatch(id, stroke) {
  const size = { width: 5, height: 5, patternUnits: 'userSpaceOnUse' };
  const line = svgOf('path', { d: 'M0 0V5', stroke, 'stroke-width': 2 });
  return svgOf('pattern', { id, ...size, patternTransform: 'rotate(45)' }, line);
}
