// The lines of the table of layers: which of them Tab goes to, and walking along them by keys.

import { all, one, slot } from './dom.js';
import { page } from './page.js';

/** The lines that are shown and can be chosen. */
function linesOfTable() {
  const lines = all('tbody tr', slot('table'));
  return lines.filter((line) => one('button', line) && line.checkVisibility());
}

/** Tab goes to one line: to the chosen one, or to the first where it is folded away. */
export function oneTabStop() {
  const lines = linesOfTable();
  const stop = lines.find((line) => line.classList.contains('chosen')) ?? lines[0];
  for (const line of lines) one('button', line).tabIndex = line === stop ? 0 : -1;
}

/**
 * Up and down go from line to line and choose; right and left open and close what is folded.
 *
 * @param {HTMLElement} line
 * @param {KeyboardEvent} event
 */
export function walkTheTable(line, event) {
  const lines = linesOfTable();
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const end = { Home: 0, End: -1 }[event.key];
  if (step || end !== undefined) {
    event.preventDefault();
    const next = step ? lines[lines.indexOf(line) + step] : lines.at(end);
    if (!next) return;
    one('button', next).focus();
    if (next.dataset.layer) page.select(next.dataset.layer);
  }
  if (
    line.matches('[data-fold-row]') && (event.key === 'ArrowRight' || event.key === 'ArrowLeft')
  ) {
    event.preventDefault();
    page.toggleFold(line, event.key === 'ArrowRight');
  }
}
