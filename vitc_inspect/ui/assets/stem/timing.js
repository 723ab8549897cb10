// Measuring the time of a stem.

import { one } from '../common/dom.js';
import { showPanel } from '../common/panel.js';
import { ask } from '../common/server.js';
import { state } from '../common/state.js';

/** Asks for more runs until all are made, somebody stops it, or the panel shows something else. */
export async function measure() {
  const number = state.measuring = Math.random();
  const asked = state.painted;
  showPanel(
    '<p class="remark">Warming up… <button type="button" data-cancel>Stop</button></p>',
  );
  for (let done = false; !done;) {
    const answer = await ask('time', { ...asked, ticket: String(number) });
    if (number !== state.measuring) return;
    showPanel(answer.panel ?? answer.error.html);
    done = answer.done ?? true;
  }
  state.measuring = 0;
}

/** Ends the measurement under way, if there is one. */
export function stopMeasuring() {
  state.measuring = 0;
  one('.progress')?.replaceChildren('Stopped. ', timeButton());
}

function timeButton() {
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', textContent: 'Time again' });
  button.dataset.time = '';
  return button;
}
