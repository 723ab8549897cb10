// The page of a module: what it is made of, and its start.

import { gradio } from '../common/context.js';
import { one, root, slot } from '../common/dom.js';
import '../common/glossary.js';
import '../common/keys.js';
import { addOption } from '../common/lists.js';
import { page } from '../common/page.js';
import { offerPictures } from '../common/pictures.js';
import './events.js';
import '../panels/keep.js';
import '../panels/maps.js';
import '../panels/tokens.js';
import '../common/enlarged-picture.js';
import '../common/picture-input.js';
import { readAddress } from './controls.js';
import { changed } from './requests.js';
import { toggleFold } from './rows.js';
import { select, selectCell, selectToken } from './selection.js';

// What sticks stands below what sticks above it.
function panelPlaced() {
  const [top, strip] = [one('.top').offsetHeight, slot('strip').offsetHeight];
  root.style.setProperty('--top', `${top}px`);
  root.style.setProperty('--strip', `${top + strip}px`);
}

function restore() {
  readAddress();
  changed();
}

/**
 * The control of an input's sizes.
 *
 * @param {string} size
 * @param {number} i
 */
function sizeControl(size, i) {
  const { names } = gradio.props;
  const label = document.createElement('label');
  const input = document.createElement('input');
  const name = names[i] || (names.length > 1 ? `input ${i + 1}` : 'input shape');
  Object.assign(input, { type: 'text', value: size, autocomplete: 'off', spellcheck: false });
  input.dataset.size = '';
  input.setAttribute('aria-label', `${name}, sizes with commas between`);
  label.append(`${name} `, input);
  return label;
}

Object.assign(page, { changed, select, selectCell, selectToken, toggleFold, panelPlaced });

const { title, start, options, live } = gradio.props;
slot('title').textContent = title;
slot('sizes').replaceChildren(...start.sizes.map(sizeControl));
for (const list of ['image', 'fit']) {
  for (const [value, name] of Object.entries(options[list])) addOption(list, value, name);
}
offerPictures();
if (live) {
  slot('read_words').textContent = 'run at';
  one('[data-reload]').title = 'run the module again as it is now (key R)';
}
window.addEventListener('popstate', restore);
restore();
