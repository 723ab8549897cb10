// An error that was pasted, and what it means for the stem on the screen.

import { one, slot, targetOf } from '../common/dom.js';
import { latest } from '../common/latest.js';
import { ask } from '../common/server.js';
import { readControls } from './controls.js';

const errorBox = one('#explain');
const errorField = /** @type {HTMLTextAreaElement} */ (one('[data-error]'));

const explainError = latest(async (/** @type {{ text: string }} */ { text }) => {
  const answer = text.trim()
    ? await ask('explain', { ...readControls(), text })
    : { explained: '' };
  if (text !== errorField.value) return;
  const opened = /** @type {HTMLDetailsElement} */ (one('.rest', slot('explained')))?.open;
  slot('explained').innerHTML = answer.explained ?? answer.error.html;
  if (opened) one('.rest', slot('explained'))?.setAttribute('open', '');
});

/** Asks also when the stem has changed, since the explanation is of the stem on the screen. */
export function askAboutError() {
  if (!errorBox.hidden) explainError.offer({ text: errorField.value });
}

errorField.addEventListener('input', askAboutError);

one('[data-explain]').addEventListener('click', (event) => {
  errorBox.hidden = !errorBox.hidden;
  targetOf(event).setAttribute('aria-expanded', String(!errorBox.hidden));
  if (!errorBox.hidden) errorField.focus();
});
