// The button that gives the input the proportions of the picture.

import { all, field, one } from './dom.js';

const button = one('[data-proportions]');

/** @type {number[]} */
let offered = []; // height and width (pixels)

/**
 * Offers a height and a width; nothing where the input has the proportions of the picture.
 *
 * @param {number[]} size
 */
export function offerProportions(size) {
  offered = size;
  button.hidden = !size.length;
  button.textContent = `Keep proportions: ${size.join(' × ')}`;
  button.title = 'the height and width that have the proportions of the picture';
}

// As if a person had typed it, so that each page does what it does then.
button.addEventListener('click', () => {
  const [shape] = /** @type {HTMLInputElement[]} */ (all('[data-size]'));
  const height = shape ?? field('height');
  const [tall, wide] = offered.map(String);
  if (shape) {
    shape.value = [...shape.value.split(',').slice(0, -2), tall, wide].join(',');
  } else {
    height.value = tall;
    field('width').value = wide;
    height.dispatchEvent(new Event('input', { bubbles: true }));
  }
  height.dispatchEvent(new Event('change', { bubbles: true }));
  field('fit').focus({ preventScroll: true }); // the button may be gone now
});
