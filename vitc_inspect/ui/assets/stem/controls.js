// The controls of a stem: reading and writing the choice.

import { gradio } from '../common/context.js';
import { all, field, one } from '../common/dom.js';
import { addOption, option } from '../common/lists.js';
import { showNotes } from '../common/pictures.js';
import { markView, VIEWS } from '../common/selection.js';
import { state } from '../common/state.js';

const CONTROLS = all('[data-field]');
const TICKS = namesOf(CONTROLS.filter((control) => control.matches('[type=checkbox]')));
const TEXTS = namesOf(CONTROLS).filter((name) => name !== 'preset' && !TICKS.includes(name));
const MAY_BE_OLD = ['preset', 'device', 'dtype', 'attention', 'weights', 'norm_statistics', 'fit'];

/** @param {HTMLElement[]} controls */
function namesOf(controls) {
  return controls.map((control) => control.dataset.field);
}

/**
 * Every field of the choice as text; "1" and "0" of what is ticked.
 *
 * @returns {Record<string, string>}
 */
export function readControls() {
  const { layer, view, cell, token, said } = state;
  const choice = Object.fromEntries(TEXTS.map((name) => [name, field(name).value || said[name]]));
  for (const name of TICKS) choice[name] = field(name).checked ? '1' : '0';
  return { ...choice, preset: field('preset').value, layer, view, cell, token };
}

/**
 * Writes a choice into the controls.
 *
 * @param {Record<string, string>} choice
 */
export function writeControls(choice) {
  if (!option('image', choice.image)) {
    addOption('image', choice.image, 'A picture from another page');
  }
  for (const name of TEXTS) {
    field(name).value = choice[name];
    state.said[name] = field(name).value ? '' : choice[name];
  }
  for (const name of ['sorting', 'scale']) {
    if (!field(name).value) field(name).value = gradio.props.start[name];
  }
  for (const name of MAY_BE_OLD) {
    if (choice[name] && field(name).value !== choice[name]) { // a link may ask for what is not offered
      addOption(name, choice[name], choice[name]);
      field(name).value = choice[name];
    }
  }
  for (const name of TICKS) field(name).checked = choice[name] === '1';
  slider().value = choice.height;
  const { layer, cell, token } = choice;
  Object.assign(state, { layer, cell, token });
  markView(VIEWS.includes(choice.view) ? choice.view : 'maps');
  showNotes();
}

/** The slider of height and width together. */
export function slider() {
  return /** @type {HTMLInputElement} */ (one('[data-slider]'));
}

/**
 * What a preset writes into the controls; undefined for a name that is none's.
 *
 * @param {string} name
 */
export function presetOf(name) {
  const { presets } = gradio.props;
  return Object.hasOwn(presets, name) ? presets[name] : undefined;
}

/** The editor's rows, each with its text by field. */
export function readRows() {
  return all('[data-row]').map((row) =>
    Object.fromEntries(partsOf(row).map((control) => [control.dataset.part, control.value]))
  );
}

/**
 * The controls of a row of the editor.
 *
 * @param {HTMLElement} row
 */
export function partsOf(row) {
  return /** @type {HTMLInputElement[]} */ (all('[data-part]', row));
}

/**
 * The controls that a fault is about; none where it is about no control.
 *
 * @param {string} name The fault's field.
 */
export function controlsOf(name) {
  const [owner, part] = name.split('.');
  if (part) {
    const parts = all(`[data-row="${owner}"] [data-part="${part}"]`);
    return /** @type {HTMLInputElement[]} */ (parts);
  }
  if (name === 'image_size') return [field('height'), field('width')];
  return [field(name.replace(/^image_/, ''))].filter(Boolean);
}
