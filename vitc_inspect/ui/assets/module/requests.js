// What is to be seen of a module is sent whole; which module it is, never.

import { gradio } from '../common/context.js';
import { one, root } from '../common/dom.js';
import { latest } from '../common/latest.js';
import { panelWaits, showPanel } from '../common/panel.js';
import { askForRun, cancelRun } from '../common/runs.js';
import { looking, same } from '../common/selection.js';
import { state } from '../common/state.js';
import { showFault, showWhole } from './answers.js';
import { readControls, room, writeAddress } from './controls.js';

/**
 * Asks for the answer to what is chosen now.
 *
 * @param {import('../common/page.js').Change} [change]
 */
export function changed({ by = 'show' } = {}) {
  state.newest += 1;
  cancelRun();
  root.dataset.state = by === 'reload' ? 'reading' : 'stale';
  markBusy(by === 'reload');
  whole.offer({ by, number: state.newest });
}

/** @param {boolean} busy Whether the file is being read, or the live module is run again. */
function markBusy(busy) {
  const button = /** @type {HTMLButtonElement} */ (one('[data-reload]'));
  button.disabled = busy;
  const live = gradio.props.live ? ['Running…', 'Run again'] : ['Reading…', 'Reload'];
  button.textContent = busy ? live[0] : live[1];
}

const whole = latest(async (/** @type {{ by: string, number: number }} */ { by, number }) => {
  const request = { ...readControls(), reading: state.reading };
  const answer = await askForRun(by, request);
  if (number !== state.newest) return;
  markBusy(false);
  if (answer.error) return showFault(answer.error);
  showWhole(request, answer);
  if (answer.broken) return;
  if (!same({ ...looking(), layer: state.wanted }, request)) showSelected();
});

const panels = latest(async (/** @type {import('../common/state.js').Looking} */ chosen) => {
  const { painted, reading } = state;
  const request = { ...painted, ...chosen, ...room(), reading, part: 'panel' };
  const answer = await askForRun('show', request);
  if (answer.broken || (!answer.error && answer.reading !== state.reading)) {
    return changed(); // another visitor has reloaded
  }
  const current = state.painted && same(looking(), chosen);
  if (current) showPanel(answer.panel ?? answer.error.html);
});

function showSelected() {
  panelWaits();
  panels.offer(looking());
}

/** Asks for the panel of what is selected now, and writes it into the address. */
export function look() {
  if (!state.painted) return;
  writeAddress('pushState');
  showSelected();
}
