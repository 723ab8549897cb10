// What a person does on the page for stems.

import { around, field, one, root, slot, targetOf } from '../common/dom.js';
import { openFile } from '../common/pictures.js';
import { ask } from '../common/server.js';
import { keysOf } from '../common/shortcuts.js';
import { state } from '../common/state.js';
import { controlsOf, presetOf, readControls, slider, writeControls } from './controls.js';
import { addRow, removeRow, toggleMore } from './editor.js';
import { keepTable } from './kept-table.js';
import { toggleFold } from './layers.js';
import { changed, look, run, showSelected } from './requests.js';
import { select } from './selection.js';
import { choosing } from './sheet.js';
import { measure, stopMeasuring } from './timing.js';

let typing = false; // whether the last history entry belongs to an edit that goes on

/**
 * @param {HTMLInputElement} target The control that was changed.
 * @param {string} history
 */
function edited(target, history) {
  state.said[target.dataset.field] = '';
  if (target.matches('[data-find]')) return;
  if (target.matches('[data-look]')) return look();
  if (target.matches('[data-part]')) {
    state.editorHtml = null;
    return changed({ history, by: 'rows' });
  }
  if (target.matches('[data-slider]')) field('height').value = field('width').value = target.value;
  if (target.matches('[data-keep-table]')) keepTable(target.checked);
  if (target === field('height')) slider().value = target.value;
  if (target === field('preset')) {
    const preset = presetOf(target.value);
    if (!preset) return;
    writeControls({ ...readControls(), ...preset });
    field('preset').value = target.value;
    return changed({ history, by: 'text' });
  }
  changed({ history, by: target === field('stem') ? 'text' : 'other' });
}

function useSuggestion() {
  const { field: name, suggestion } = state.fault;
  state.editorHtml = null;
  controlsOf(name).forEach((control, i) => {
    control.value = suggestion[i] ?? suggestion[0];
  });
  if (name === 'preset') return edited(field('preset'), 'push');
  changed({ by: name === 'stem' ? 'text' : name.includes('.') ? 'rows' : 'other' });
}

function runAnyway() {
  one('[data-run]').hidden = true;
  one('[data-until-run]', slot('panel'))?.remove();
  slot('refusal').innerHTML = '';
  slot('status').textContent = 'running…';
  run(state.painted);
}

function cancelMeasurement() {
  const before = state.panelHtml;
  stopMeasuring();
  if (!before.includes('progress')) showSelected();
}

/** @param {HTMLElement} part Of the strip or of the table. */
function selectLayer(part) {
  select(part.dataset.layer);
  const line = part.closest('tr');
  if (!line) return;
  one('button', line).focus({ preventScroll: true }); // for the arrow keys
  if (window.innerWidth <= 900) slot('panel').scrollIntoView({ block: 'nearest' });
}

root.addEventListener('input', (event) => {
  const target = targetOf(event);
  if (target.matches('[data-file], [data-error]')) return;
  edited(target, typing ? 'replace' : 'push');
  typing = true;
});

root.addEventListener('change', (event) => {
  const target = targetOf(event);
  typing = false;
  if (target.matches('[data-file]')) openFile(target.files[0]);
});

/**
 * What a click does, by the selector of what it is on; the first that fits.
 *
 * @type {[string, (part: HTMLElement) => unknown][]}
 */
const CLICKS = [
  ['[data-use]', useSuggestion],
  ['.tabs [data-view]', (tab) => select(state.layer, tab.dataset.view)],
  ['[data-time]', measure],
  ['[data-cancel]', cancelMeasurement],
  ['[data-add-encoder]', () => {
    field('encoder').checked = true;
    changed();
  }],
  ['[data-retry]', () => changed({ history: 'replace' })],
  ['[data-run]', runAnyway],
  ['[data-open]', () => one('[data-file]').click()],
  ['[data-toggle-choose]', () => choosing(!root.classList.contains('choosing'))],
  ['[data-more]', toggleMore],
  ['[data-add]', addRow],
  ['[data-remove]', (button) => removeRow(button.closest('[data-row]'))],
  ['[data-fold-row]', () => toggleFold()],
  ['[data-skip]', () => one('.results').focus()],
  ['[data-layer]', selectLayer],
];

root.addEventListener('click', (event) => {
  const on = around(event);
  const [selector, act] = CLICKS.find(([each]) => on(each)) ?? [];
  if (act) act(on(selector));
});

root.addEventListener('toggle', async (event) => { // which does not bubble, hence the capture
  const details = /** @type {HTMLDetailsElement} */ (event.target);
  const home = details.matches('[data-witnesses]') && slot('witnesses');
  if (!home || !details.open || home.innerHTML) return;
  const asked = state.painted;
  home.textContent = 'counting…';
  const answer = await ask('witnesses', asked);
  if (asked.number === state.newest) home.innerHTML = answer.witnesses ?? answer.error.html;
}, true);

root.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') choosing(false);
});

keysOf('Page', { Esc: 'close the editor, where it covers the page' });
