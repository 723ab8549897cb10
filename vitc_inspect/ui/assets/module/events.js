// What a person does on a module's page.

import { gradio } from '../common/context.js';
import { around, one, root, slot, targetOf } from '../common/dom.js';
import { openFile, showNotes } from '../common/pictures.js';
import { keysOf } from '../common/shortcuts.js';
import { state } from '../common/state.js';
import { writeSuggestion } from './answers.js';
import { changed, look } from './requests.js';
import { toggleFold } from './rows.js';
import { select, selectToken } from './selection.js';

function reload() {
  changed({ by: 'reload' });
}

root.addEventListener('change', (event) => {
  const target = targetOf(event);
  if (target.matches('[data-file]')) return void openFile(target.files[0]);
  if (target.matches('[data-look]')) return look();
  if (target.matches('[data-place]')) return selectToken(target.value);
  if (target.matches('[data-field=image], [data-field=fit], [data-size]')) {
    showNotes();
    changed();
  }
});

/** @param {HTMLElement} part Of the strip or of the table. */
function selectLayer(part) {
  select(part.dataset.layer);
  const line = part.closest('tr');
  if (!line) return;
  one('button', line).focus({ preventScroll: true }); // for the arrow keys
  if (window.innerWidth <= 900) slot('panel').scrollIntoView({ block: 'nearest' });
}

/**
 * What a click does, by the selector of what it is on; the first that fits.
 *
 * @type {[string, (part: HTMLElement) => unknown][]}
 */
const CLICKS = [
  ['[data-use]', () => {
    writeSuggestion();
    changed();
  }],
  ['[data-retry]', () => changed()],
  ['[data-reload]', reload],
  ['[data-open]', () => one('[data-file]').click()],
  ['.tabs [data-view]', (tab) => select(state.layer, tab.dataset.view)],
  ['button[data-place]', (button) => selectToken(button.dataset.place)],
  ['[data-fold-row]', (line) => toggleFold(line)],
  ['[data-layer]', selectLayer],
];

root.addEventListener('click', (event) => {
  const on = around(event);
  const [selector, act] = CLICKS.find(([each]) => on(each)) ?? [];
  if (act) act(on(selector));
});

document.addEventListener('keydown', (event) => {
  const typing = around(event)('input, select, textarea');
  if (event.key === 'r' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) reload();
});

// Asked when a person comes back to the page, as from the editor; never meanwhile.
async function lookAtFile() {
  if (document.hidden || !state.reading) return;
  let answer;
  try {
    answer = await gradio.server.changed({});
  } catch {
    return; // whatever is asked for next will say so
  }
  if (!answer) return;
  slot('changed').hidden = !answer.changed;
  if (answer.reading !== state.reading) changed();
}

window.addEventListener('focus', lookAtFile);
document.addEventListener('visibilitychange', lookAtFile);

keysOf('Page', { R: 'read the file anew and run it' });
