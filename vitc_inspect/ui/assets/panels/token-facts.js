// What the token panel says of the grid, read once it has been filled.

import { one, slot } from '../common/dom.js';

/**
 * @typedef {object} TokenFacts
 * @property {number[]} grid Rows and columns of tokens.
 * @property {number[]} first Position of the first token's centre, in pixels.
 * @property {number} stride From a token to the next, in pixels.
 * @property {number[]} size Of the image, in pixels.
 * @property {number[]} chosen Row and column of the token that the panel is about.
 * @property {number} prefix Tokens before those of the grid.
 * @property {number} channels Of the last layer.
 * @property {(number[][] | null)[]} readers By axis, which tokens read a pixel: [start, first, last,
 *   step, …] where it changes; null where that would be too much to send.
 */

/** @type {{ facts: TokenFacts | null }} */
const sent = { facts: null };

/** What the panel on the screen says. */
export function tokenFacts() {
  return sent.facts;
}

/**
 * Reads what a panel says; null for a panel without tokens.
 *
 * @param {HTMLElement | null} home
 */
export function readTokenFacts(home) {
  sent.facts = home && JSON.parse(home.dataset.tokens);
  return sent.facts;
}

/**
 * The first part of the panel that a selector finds.
 *
 * @param {string} selector
 */
export function inPanel(selector) {
  return one(selector, slot('panel'));
}
