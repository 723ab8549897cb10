// The controls of a module's page, and the address bar, which says what is to be seen.

import { gradio } from '../common/context.js';
import { all, field, one, root } from '../common/dom.js';
import { addOption, option } from '../common/lists.js';
import { showNotes } from '../common/pictures.js';
import { looking, markView, VIEWS } from '../common/selection.js';
import { state } from '../common/state.js';

const ASKED = Object.keys(gradio.props.start); // the fields of a link

/** The controls of the sizes of the inputs, in order. */
export function sizeInputs() {
  return /** @type {HTMLInputElement[]} */ (all('[data-size]'));
}

/**
 * What is to be seen of the module.
 *
 * @returns {import('../common/state.js').Request}
 */
export function readControls() {
  return {
    image: field('image').value,
    fit: field('fit').value,
    sizes: sizeInputs().map((input) => input.value),
    ...looking(),
    layer: state.wanted,
    ...room(),
  };
}

/** The panel's width (pixels), and its width over height for maps. */
export function room() {
  const height = Math.max(300, window.innerHeight - 596);
  if (height !== state.mapsHeight) root.style.setProperty('--maps-height', `${height}px`);
  state.mapsHeight = height;
  const width = one('.panel').clientWidth - 32;
  return { panel_width: width, aspect: width / height };
}

/**
 * Writes what is to be seen into the address; what is as at the start stays unsaid.
 *
 * @param {'pushState' | 'replaceState'} [method]
 */
export function writeAddress(method = 'replaceState') {
  const choice = readControls();
  const query = new URLSearchParams();
  for (const name of ASKED) {
    const values = [choice[name]].flat();
    if (String(values) === String(gradio.props.start[name])) continue;
    for (const value of values) query.append(name, value);
  }
  const next = `${location.pathname}${query.size ? `?${query}` : ''}`;
  if (next !== location.pathname + location.search) history[method](null, '', next);
}

/** Writes what the address asks for into the controls. */
export function readAddress() {
  const { start } = gradio.props;
  const query = new URLSearchParams(location.search);
  const asked = { ...start };
  for (const name of ASKED) {
    if (query.has(name)) asked[name] = name === 'sizes' ? query.getAll(name) : query.get(name);
  }
  const { layer, cell, token } = asked;
  Object.assign(state, { layer, wanted: layer, cell, token });
  if (!option('image', asked.image)) addOption('image', asked.image, 'A picture from another page');
  if (!option('fit', asked.fit)) addOption('fit', asked.fit, asked.fit); // the server says what is wrong
  for (const name of ['image', 'fit', 'sorting', 'scale']) {
    field(name).value = asked[name];
    if (!field(name).value) field(name).value = start[name];
  }
  sizeInputs().forEach((input, i) => {
    input.value = asked.sizes[i] ?? start.sizes[i];
  });
  markView(VIEWS.includes(asked.view) ? asked.view : 'maps');
  showNotes();
}
