// A picture to keep: a title, what it is of and its numbers above it, on white, in light colours.

import { drawn } from './drawing.js';
import { root } from './dom.js';
import { dropIdentifiers, svgOf } from './standalone-svg.js';

/**
 * What is drawn.
 *
 * @typedef {object} Picture
 * @property {string} title
 * @property {string} subject The stem in notation, or the module.
 * @property {string} said Its numbers.
 * @property {HTMLElement[][]} columns Parts of the page, below each other, side by side.
 */

const MARGIN = 24;
const BETWEEN = 28; // columns
const BELOW = 10; // a part
const LEAST = 560; // width, for what stands above
const INK = '#14181f';
const SOFT = '#566070';
const PAGE = {
  sans: "'Source Sans Pro', system-ui, sans-serif",
  mono: "'IBM Plex Mono', monospace",
};
/** Of what stands above: size, height of a line, weight, family, colour. */
const LOOKS = {
  title: { size: 20, line: 27, weight: 700, family: PAGE.sans, fill: INK },
  subject: { size: 13, line: 18, weight: 400, family: PAGE.mono, fill: SOFT },
  said: { size: 14, line: 20, weight: 400, family: PAGE.sans, fill: SOFT },
};

const canvas = document.createElement('canvas').getContext('2d');

/**
 * Draws a picture as an SVG that stands alone but for its pictures' addresses and its fonts.
 *
 * @param {Picture} picture
 */
export function framed(picture) {
  const parts = inLight(() => picture.columns.map(stacked));
  const across = parts.reduce((sum, { width }) => sum + width + BETWEEN, -BETWEEN);
  const inner = Math.ceil(Math.max(LEAST, across));
  const svg = svgOf('svg', { xmlns: 'http://www.w3.org/2000/svg', role: 'img' });
  svg.append(svgOf('title', {}, `${picture.title}: ${picture.subject}`));
  svg.append(svgOf('desc', {}, picture.said));
  const ground = svgOf('rect', { fill: '#fff' });
  svg.append(ground);
  let y = MARGIN;
  for (const [name, look] of Object.entries(LOOKS)) {
    const words = /** @type {Record<string, any>} */ (picture)[name];
    for (const line of wrapped(words, look, inner)) {
      y += look.line;
      svg.append(svgOf('text', { ...fontOf(look), x: MARGIN, y: y - 0.3 * look.line }, line));
    }
  }
  y += 12;
  let x = MARGIN;
  for (const part of parts) {
    part.svg.setAttribute('transform', `translate(${x} ${y})`);
    svg.append(part.svg);
    x += part.width + BETWEEN;
  }
  const width = inner + 2 * MARGIN;
  const height = Math.ceil(y + Math.max(...parts.map((part) => part.height)) + MARGIN);
  for (const each of [svg, ground]) {
    each.setAttribute('width', String(width));
    each.setAttribute('height', String(height));
  }
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  dropIdentifiers(svg);
  return svg;
}

/**
 * Does something while the page has its light colours, nothing scrolls, and nothing moves; the
 * screen is not painted meanwhile.
 *
 * @template T
 * @param {() => T} act
 * @returns {T}
 */
function inLight(act) {
  const dark = document.body.classList.contains('dark');
  document.body.classList.remove('dark');
  root.classList.add('drawing');
  try {
    return act();
  } finally {
    root.classList.remove('drawing');
    document.body.classList.toggle('dark', dark);
  }
}

/** @param {HTMLElement[]} parts */
function stacked(parts) {
  const svg = svgOf('g');
  let [width, height] = [0, 0];
  for (const part of parts) {
    const each = drawn(part);
    if (!each.height) continue;
    each.svg.setAttribute('transform', `translate(0 ${height})`);
    svg.append(each.svg);
    width = Math.max(width, each.width);
    height += each.height + BELOW;
  }
  return { svg, width, height: height - BELOW };
}

/** @typedef {{ size: number, line: number, weight: number, family: string, fill: string }} Look */

/** @param {Look} look */
function fontOf({ size, weight, family, fill }) {
  return { 'font-family': family, 'font-size': `${size}px`, 'font-weight': weight, fill };
}

/**
 * Breaks words into lines; a word that is wider than the width is cut.
 *
 * @param {string} words
 * @param {Look} look
 * @param {number} width
 */
function wrapped(words, { size, weight, family }, width) {
  canvas.font = `${weight} ${size}px ${family}`;
  const fits = (/** @type {string} */ line) => canvas.measureText(line).width <= width;
  /** @type {string[]} */
  const lines = [];
  for (const word of words.split(/\s+/).filter(Boolean)) {
    const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
    if (lines.length && fits(longer)) lines[lines.length - 1] = longer;
    else lines.push(word);
    while (!fits(lines.at(-1))) {
      const letters = [...lines.pop()];
      let end = letters.length - 1;
      while (end > 1 && !fits(letters.slice(0, end).join(''))) end -= 1;
      lines.push(letters.slice(0, end).join(''), letters.slice(end).join(''));
    }
  }
  return lines;
}
