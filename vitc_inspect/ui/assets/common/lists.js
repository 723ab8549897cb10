// Lists of choices.

import { field } from './dom.js';

/** @param {string} name */
function listOf(name) {
  return /** @type {HTMLSelectElement} */ (/** @type {unknown} */ (field(name)));
}

/**
 * The option of a list with a value; undefined where it has none.
 *
 * @param {string} name Field of the list.
 * @param {string} value
 */
export function option(name, value) {
  return [...listOf(name).options].find((candidate) => candidate.value === value);
}

/**
 * Adds an option to a list, unless it has it.
 *
 * @param {string} name Field of the list.
 * @param {string} value
 * @param {string} title
 */
export function addOption(name, value, title) {
  if (!option(name, value)) listOf(name).add(new Option(title, value));
}
