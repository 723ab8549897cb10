// The page for stems: what it is made of, and its start.

import { gradio } from '../common/context.js';
import { all, field, root, slot } from '../common/dom.js';
import '../common/glossary.js';
import '../common/keys.js';
import { addOption } from '../common/lists.js';
import { page } from '../common/page.js';
import { offerPictures } from '../common/pictures.js';
import { bringIntoView } from '../common/selection.js';
import { state } from '../common/state.js';
import './events.js';
import '../panels/keep.js';
import '../panels/maps.js';
import '../panels/cells.js';
import '../panels/tokens.js';
import '../common/enlarged-picture.js';
import '../common/picture-input.js';
import { readAddress } from './address.js';
import { writeControls } from './controls.js';
import './copy-link.js';
import { toggleFold } from './layers.js';
import { lostOfAddress, noteLost } from './lost.js';
import './pointer.js';
import { changed } from './requests.js';
import { select, selectCell, selectToken } from './selection.js';
import { sayWhatChanged } from './undo.js';

function panelPlaced() {
  bringIntoView();
  root.style.setProperty('--strip', `${slot('strip').offsetHeight}px`); // what sticks stands below it
}

/**
 * The group of presets with a title, which is made where there is none.
 *
 * @param {string} title
 */
function groupOf(title) {
  const groups = /** @type {HTMLOptGroupElement[]} */ (all('optgroup', field('preset')));
  const known = groups.find((group) => group.label === title);
  if (known) return known;
  const group = document.createElement('optgroup');
  group.label = title;
  field('preset').append(group);
  return group;
}

function restore() {
  const [choice, lost] = [readAddress(), lostOfAddress()];
  writeControls(choice);
  state.pushDue = false;
  changed({ history: 'replace', by: 'text' });
  noteLost(lost, choice);
}

Object.assign(page, { changed, select, selectCell, selectToken, toggleFold, panelPlaced });

const { presets, options, start } = gradio.props;
addOption('preset', '', 'a stem of your own');
for (const [name, preset] of Object.entries(presets)) {
  groupOf(preset.group).append(new Option(preset.title, name));
}
for (const [name, titles] of Object.entries(options)) {
  for (const [value, title] of Object.entries(titles)) addOption(name, value, title);
}
slot('from_file').hidden = start.weights.startsWith('file:'); // which is how a given one is known
offerPictures();
window.addEventListener('popstate', () => {
  restore();
  sayWhatChanged();
});
restore();
