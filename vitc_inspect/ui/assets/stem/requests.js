// The choice is sent whole; answers that are not for the newest are dropped.

import { field, one, root, slot } from '../common/dom.js';
import { latest } from '../common/latest.js';
import { panelWaits, showPanel } from '../common/panel.js';
import { askForRun, cancelRun } from '../common/runs.js';
import { looking, markLayer, same } from '../common/selection.js';
import { ask } from '../common/server.js';
import { state } from '../common/state.js';
import { writeAddress } from './address.js';
import {
  afterPaint,
  setState,
  showFault,
  showPrediction,
  showResults,
  showStopped,
} from './answers.js';
import { readControls, readRows } from './controls.js';
import { askAboutError } from './explain.js';
import { showKeptTable } from './kept-table.js';
import { forgetLost, sayLost } from './lost.js';
import { stopMeasuring } from './timing.js';
import { forgetWhatChanged, noteAddress } from './undo.js';

/** @typedef {import('../common/state.js').Request} Request */

/**
 * Asks for the answer to what is chosen now.
 *
 * @param {import('../common/page.js').Change} [change] A preset, a link and a restored page are
 *   changes of the "text".
 */
export function changed({ history = 'push', by = 'other', structure = false } = {}) {
  state.newest += 1;
  setState('stale');
  showKeptTable();
  root.classList.toggle('with-encoder', field('encoder').checked);
  if (by !== 'other') state.rowsNewer = by === 'rows';
  state.pushDue ||= history === 'push';
  stopMeasuring();
  cancelRun();
  forgetWhatChanged();
  forgetLost();
  const { unfolded, newest } = state;
  /** @type {Request} */
  const request = { ...readControls(), structure, unfolded, ...room(), number: newest };
  if (state.rowsNewer) request.rows = readRows();
  else writeAddress(); // rows become text first, on the server
  predictions.offer(request);
}

// The widths of panel and strip (pixels), and the panel's over its height for maps, so that all fit
// the screen.
function room() {
  const height = Math.max(300, window.innerHeight - 560);
  if (height !== state.mapsHeight) root.style.setProperty('--maps-height', `${height}px`);
  state.mapsHeight = height;
  const width = one('.panel').clientWidth - 34;
  return {
    panel_width: width,
    strip_width: slot('strip').clientWidth - 16,
    aspect: width / height,
  };
}

const predictions = latest(async (/** @type {Request} */ request) => {
  const answer = await ask('predict', request);
  if (request.number !== state.newest) return;
  if (request.rows && 'stem' in answer) {
    field('stem').value = answer.stem;
    state.rowsNewer = false;
    writeAddress();
  }
  sayLost(answer);
  if (answer.error) return showFault(request, answer);
  const text = field('stem');
  if (text.value === request.stem && text.value !== answer.stem) { // code, which is notation now
    text.value = answer.stem;
    writeAddress();
  }
  if (answer.table_first) { // what a run raises; the last valid result stays
    return run({ ...request, stem: answer.stem, rows: undefined });
  }
  const shown = showPrediction(request, answer);
  askAboutError();
  keepSelection(answer, request);
  if (answer.auto_run) afterPaint(() => run(shown)); // the prediction before the run takes the processor
});

const runs = latest(async (/** @type {Request} */ request) => {
  if (request.number !== state.newest) return;
  const asked = { ...request, ...looking(), unfolded: state.unfolded };
  const answer = await askForRun('run', asked);
  if (request.number !== state.newest) return;
  if (answer.error?.field === 'run') {
    showStopped(answer.error);
    return showSelected();
  }
  if (answer.error) return showFault(request, answer);
  state.confirmed = true;
  showResults(answer);
  setState('confirmed');
  noteAddress();
  keepSelection(answer, asked);
});

/**
 * Runs a stem.
 *
 * @param {Request} request That of the prediction on the screen.
 */
export function run(request) {
  runs.offer(request);
}

/**
 * A layer or a view that was chosen while the answer was on its way stays the chosen one.
 *
 * @param {import('../common/server.js').Answer} answer
 * @param {Request} asked
 */
function keepSelection(answer, asked) {
  const { view, cell, token } = looking();
  if (answer.layer === state.layer && same({ view, cell, token }, asked)) return;
  markLayer(state.layer);
  showSelected();
}

const panels = latest(async (/** @type {import('../common/state.js').Looking} */ chosen) => {
  const asked = state.painted;
  const ran = state.confirmed;
  const wanted = { ...asked, ...chosen, part: 'panel' };
  const answer = ran ? await askForRun('run', wanted) : await ask('predict', wanted);
  // an answer from before the run must not replace what the run has painted meanwhile
  const current = asked.number === state.newest && ran === state.confirmed &&
    same(looking(), chosen);
  if (current) showPanel(answer.panel ?? answer.error.html);
});

/** Asks for the panel of what is selected now. */
export function showSelected() {
  panelWaits();
  panels.offer(looking());
}

/** Asks for the panel of what is selected now, and writes it into the address. */
export function look() {
  if (!state.painted) return;
  stopMeasuring();
  if (!state.rowsNewer) { // else the address follows with the text
    state.pushDue = true;
    writeAddress();
    noteAddress();
  }
  showSelected();
}
