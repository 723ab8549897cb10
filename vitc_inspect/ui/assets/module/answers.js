// Showing the answers of the server on a module's page.

import { all, field, one, root, slot } from '../common/dom.js';
import { showPanel } from '../common/panel.js';
import { offerProportions } from '../common/proportions.js';
import { fillParts } from '../common/selection.js';
import { state } from '../common/state.js';
import { sizeInputs, writeAddress } from './controls.js';
import { markRow, showFolds } from './rows.js';

/** @typedef {import('../common/server.js').Answer} Answer */

/**
 * Shows the whole page, or why the file cannot be used.
 *
 * @param {import('../common/state.js').Request} request
 * @param {Answer} answer
 */
export function showWhole(request, answer) {
  clearFault();
  state.reading = answer.reading;
  slot('read_at').textContent = answer.read_at;
  slot('changed').hidden = true;
  slot('alerts').innerHTML = answer.broken ?? answer.alerts;
  if (answer.broken) return showNothing();
  state.painted = request;
  const { summary, status, strip, table } = answer;
  fillParts({ summary, status, strip, table }, () => {
    if (request.layer === state.wanted) state.layer = answer.layer; // else another one was clicked meanwhile
    root.classList.toggle('unseen', !answer.image);
    offerProportions(answer.proportions);
    one('[data-view=pixels]').hidden = !answer.stem;
    showFolds();
    root.dataset.state = 'confirmed';
    showPanel(answer.panel);
    markRow();
    writeAddress();
  });
}

// Nothing of what stood here is true any more.
function showNothing() {
  state.painted = null;
  for (const name of ['summary', 'status', 'strip', 'table', 'panel']) slot(name).innerHTML = '';
  state.panelHtml = '';
  root.dataset.state = 'broken';
}

/**
 * Says what is wrong with the choice; what is on the screen holds for the one before, and stands
 * back.
 *
 * @param {import('../common/server.js').Fault} error
 */
export function showFault(error) {
  clearFault();
  const at = error.field === 'input' ? sizeInputs() : [field(error.field)].filter(Boolean);
  for (const control of at) control.setAttribute('aria-invalid', 'true');
  slot('fault').hidden = false;
  slot('fault').innerHTML = error.html;
  slot('fault').dataset.suggestion = error.suggestion?.[0] ?? '';
  slot('fault').dataset.of = error.field;
  root.dataset.state = 'refused';
}

function clearFault() {
  slot('fault').hidden = true;
  slot('fault').innerHTML = '';
  for (const control of all('[aria-invalid]')) control.removeAttribute('aria-invalid');
}

/** Writes the value that works into the control of the fault. */
export function writeSuggestion() {
  const { of, suggestion } = slot('fault').dataset;
  const controls = of === 'input' ? sizeInputs().slice(0, 1) : [field(of)];
  for (const control of controls) control.value = suggestion;
}
