// A text of the page as SVG: each line where the screen has it.

import { svgOf } from './standalone-svg.js';

const canvas = document.createElement('canvas').getContext('2d');

/**
 * Each line of a text, as the screen breaks it, as wide as the screen has it in any font.
 *
 * @param {Text} node
 * @param {number[]} from
 * @param {Element} into
 */
export function drawText(node, from, into) {
  const parent = node.parentElement;
  if (!node.data.trim() || !parent) return;
  const style = getComputedStyle(parent);
  if (style.visibility === 'hidden') return;
  const look = {
    'font-family': style.fontFamily,
    'font-size': style.fontSize,
    'font-weight': style.fontWeight,
    'font-style': style.fontStyle,
    'fill': style.color,
    ...(style.textShadow === 'none'
      ? {}
      : { 'stroke': '#000', 'stroke-width': 1.4, 'paint-order': 'stroke' }),
  };
  canvas.font = `${style.fontStyle} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  const { fontBoundingBoxAscent: up, fontBoundingBoxDescent: down } = canvas.measureText('x');
  for (const { words, left, right, top, bottom } of linesOf(node)) {
    const place = {
      x: left - from[0],
      y: top - from[1] + (up / (up + down)) * (bottom - top),
      textLength: right - left,
      lengthAdjust: 'spacingAndGlyphs',
    };
    into.append(svgOf('text', { ...place, ...look }, words));
  }
}

/** @typedef {{ words: string, left: number, right: number, top: number, bottom: number }} Line */

/** @param {Text} node */
function linesOf(node) {
  /** @type {Line[]} */
  const lines = [];
  for (const word of node.data.matchAll(/\S+/g)) {
    const [only, ...more] = placesOf(node, word.index, word[0].length);
    if (!only) continue;
    if (!more.length) addTo(lines, word[0], only, ' ');
    else { // broken inside, as a long name is
      [...word[0]].forEach((letter, i) => {
        const place = placesOf(node, word.index + i, letter.length)[0];
        if (place) addTo(lines, letter, place, i ? '' : ' ');
      });
    }
  }
  return lines;
}

/**
 * @param {Text} node
 * @param {number} start
 * @param {number} length
 */
function placesOf(node, start, length) {
  const range = document.createRange();
  range.setStart(node, start);
  range.setEnd(node, start + length);
  return [...range.getClientRects()].filter((box) => box.width);
}

/**
 * @param {Line[]} lines
 * @param {string} words
 * @param {DOMRect} box
 * @param {string} gap What stands before them where they go on with a line.
 */
function addTo(lines, words, { left, right, top, bottom }, gap) {
  const line = lines.at(-1);
  if (!line || Math.abs(line.top - top) >= 2) lines.push({ words, left, right, top, bottom });
  else {
    line.words += gap + words;
    line.right = right;
  }
}
