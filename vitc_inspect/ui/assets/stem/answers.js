// Showing the answers of the server: predictions, runs, and what is wrong.

import { all, field, one, root, slot } from '../common/dom.js';
import { option } from '../common/lists.js';
import { panelRests, showPanel } from '../common/panel.js';
import { offerProportions } from '../common/proportions.js';
import { fillParts } from '../common/selection.js';
import { state } from '../common/state.js';
import { oneTabStop } from '../common/table.js';
import { writeAddress } from './address.js';
import { controlsOf, presetOf } from './controls.js';
import { edit, titleToggle } from './sheet.js';

/** @typedef {import('../common/server.js').Answer} Answer */
/** @typedef {import('../common/state.js').Request} Request */

/** @type {ReturnType<typeof setTimeout>} */
let lateness = null; // timer of the fade

/**
 * Says how what is on the screen stands to the choice: it is of an older one while that is "stale",
 * and steps back if that lasts.
 *
 * @param {string} name
 */
export function setState(name) {
  root.dataset.state = name;
  clearTimeout(lateness);
  root.classList.remove('late');
  root.classList.toggle('nothing', !slot('strip').childElementCount);
  for (const part of all('.results > :not(.fault)')) part.inert = name === 'fault';
  titleToggle();
  if (name === 'stale') lateness = setTimeout(() => root.classList.add('late'), 250);
}

/**
 * Shows a prediction.
 *
 * @param {Request} request
 * @param {Answer} answer
 * @returns {Request} The request with the stem as the server wrote it, from which it can be run.
 */
export function showPrediction(request, answer) {
  clearFault();
  const shown = { ...request, stem: answer.stem, rows: /** @type {any} */ (undefined) };
  state.painted = shown;
  state.confirmed = false;
  state.found = {
    layer: answer.layer,
    cell: [request.cell, answer.cell],
    token: [request.token, answer.token],
  };
  if (request.layer === state.layer) state.layer = answer.layer; // else another one was clicked meanwhile
  if (!request.rows || request.structure) fillEditor(answer.editor);
  field('preset').value = answer.preset;
  slot('about').textContent = answer.about;
  slot('crop').textContent = answer.crop;
  offerProportions(answer.proportions);
  showResults(answer);
  slot('count').textContent = `${one('[data-seq-len]').dataset.seqLen} tokens`; // is read out
  writeAddress(); // the layer may be another one now, and the cell or the token none
  setState('predicted');
  root.classList.toggle('batch-norm', answer.batch_norm);
  slot('refusal').innerHTML = answer.auto_run ? '' : answer.refusal?.html ?? '';
  const button = one('[data-run]');
  button.hidden = answer.auto_run || Boolean(answer.refusal);
  if (answer.auto_run) return shown;
  if (answer.refusal) state.fault = answer.refusal;
  else button.textContent = `Run: ${answer.cost}`;
  return shown;
}

/** @param {string} html */
function fillEditor(html) {
  if (html !== state.editorHtml) slot('editor').innerHTML = html;
  state.editorHtml = html;
}

/**
 * Shows the results of a prediction or of a run.
 *
 * @param {Answer} answer
 */
export function showResults({ totals, status, strip, table, panel }) {
  const explained = howDetails()?.open;
  fillParts({ totals, status, strip, table }, () => {
    oneTabStop();
    howDetails().open = Boolean(explained);
    showPanel(panel);
  });
}

function howDetails() {
  return /** @type {HTMLDetailsElement} */ (one('.how', slot('totals')));
}

/**
 * Shows that a run has no result; the prediction still holds.
 *
 * @param {import('../common/server.js').Fault} error
 */
export function showStopped(error) {
  setState('stopped');
  slot('status').textContent = 'predicted, not run';
  slot('refusal').innerHTML = error.html;
  state.panelHtml = '';
}

/**
 * Shows what is wrong with the choice, at its control; the last valid result steps back.
 *
 * @param {Request} request
 * @param {Answer} answer
 */
export function showFault(request, answer) {
  clearFault();
  const fault = answer.error;
  state.fault = fault;
  state.painted = null;
  panelRests();
  slot('refusal').innerHTML = '';
  slot('about').textContent = slot('crop').textContent = '';
  if ('editor' in answer && (!request.rows || request.structure)) fillEditor(answer.editor);
  if (request.preset && !presetOf(request.preset)) option('preset', request.preset)?.remove();
  field('preset').value = '';
  const marked = controlsOf(fault.field);
  for (const control of marked) control.setAttribute('aria-invalid', 'true');
  const group = /** @type {HTMLElement} */ (marked[0]?.closest('.group'));
  slot('fault').hidden = false;
  if (group) {
    const note = document.createElement('div');
    note.className = 'field-fault';
    note.innerHTML = fault.html;
    group.append(note);
    edit(group.dataset.of);
  }
  slot('fault').innerHTML = fault.html;
  slot('fault').classList.toggle('elsewhere', Boolean(group)); // its sentence stands at the field
  setState('fault');
}

function clearFault() {
  state.fault = null;
  slot('fault').hidden = true;
  slot('fault').innerHTML = '';
  for (const note of all('.field-fault')) note.remove();
  for (const control of all('[aria-invalid]')) control.removeAttribute('aria-invalid');
}

/**
 * Calls a function when what was just shown has been painted.
 *
 * @param {() => void} next
 */
export function afterPaint(next) {
  if (document.hidden) return next();
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = next;
    port2.postMessage(null);
  });
}
