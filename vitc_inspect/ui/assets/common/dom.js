// The parts of the page by their names.

import { gradio } from './context.js';

/** The page's outermost element. */
export const root = one('.vi', gradio.element);

/**
 * The first element that a selector finds; null where there is none.
 *
 * @param {string} selector
 * @param {ParentNode} [within]
 * @returns {HTMLElement}
 */
export function one(selector, within = root) {
  return within.querySelector(selector);
}

/**
 * Every element that a selector finds, in order.
 *
 * @param {string} selector
 * @param {ParentNode} [within]
 * @returns {HTMLElement[]}
 */
export function all(selector, within = root) {
  return [...within.querySelectorAll(selector)].map((found) => /** @type {HTMLElement} */ (found));
}

/**
 * A part that is filled with what the server answers.
 *
 * @param {string} name
 */
export function slot(name) {
  return one(`[data-slot="${name}"]`);
}

/**
 * The control of a field.
 *
 * @param {string} name
 */
export function field(name) {
  return /** @type {HTMLInputElement} */ (one(`[data-field="${name}"]`));
}

/**
 * What an event is about.
 *
 * @param {Event} event
 */
export function targetOf(event) {
  return /** @type {HTMLInputElement} */ (event.target);
}

/**
 * Finds what an event happened in by a selector, or null; it may be the document's own event.
 *
 * @param {Event} event
 * @returns {(selector: string) => HTMLElement}
 */
export function around(event) {
  return (selector) => (event.target instanceof Element ? event.target.closest(selector) : null);
}

/** The element that has the keyboard. */
export function focusedElement() {
  return /** @type {HTMLElement} */ (document.activeElement);
}
