// A dialog of the page: above all else, closed by Escape, by its button and by a press beside it.

import { root } from './dom.js';

/**
 * Makes a dialog, closed.
 *
 * @param {string} className
 * @param {string} title
 * @param {...HTMLElement} parts What it shows below its title.
 */
export function dialogOf(className, title, ...parts) {
  const dialog = document.createElement('dialog');
  const heading = document.createElement('h2');
  heading.id = `${className}-title`;
  heading.textContent = title;
  dialog.className = className;
  dialog.setAttribute('aria-labelledby', heading.id);
  dialog.append(heading, ...parts);
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close(); // what is inside covers all but the backdrop
  });
  dialog.addEventListener('keydown', (event) => event.stopPropagation()); // no shortcut of the page
  root.append(dialog);
  return dialog;
}

/**
 * Makes a button.
 *
 * @param {string} words
 * @param {() => void} act
 */
export function buttonOf(words, act) {
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', textContent: words });
  button.addEventListener('click', act);
  return button;
}
