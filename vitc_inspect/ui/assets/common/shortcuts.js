// The keys of the page: each module says beside its own which it takes, and ? shows them all.

import { dialogOf } from './dialogs.js';
import { around, one } from './dom.js';

/** @type {Map<string, string[][]>} */
const groups = new Map();

/**
 * Adds keys to the list.
 *
 * @param {string} where What has the keyboard; "Page" for keys that work everywhere.
 * @param {Record<string, string>} does By key, or keys with spaces between, what they do.
 */
export function keysOf(where, does) {
  groups.set(where, [...(groups.get(where) ?? []), ...Object.entries(does)]);
}

/** @param {[string, string[][]]} group */
function rowsOf([where, lines]) {
  return lines.map(([keys, words], i) => {
    const row = document.createElement('tr');
    const head = document.createElement('th');
    head.scope = 'row';
    head.textContent = i ? '' : where;
    const cells = ['', words].map((text) => {
      const cell = document.createElement('td');
      cell.textContent = text;
      return cell;
    });
    for (const key of keys.split(' ')) {
      const shown = document.createElement('kbd');
      shown.textContent = key;
      cells[0].append(shown, ' ');
    }
    row.append(head, ...cells);
    return row;
  });
}

const table = document.createElement('table');
const dialog = dialogOf('shortcuts', 'Keys', table);

function show() {
  const ordered = [...groups].sort(([one], [other]) =>
    // the page's own first
    Number(other === 'Page') - Number(one === 'Page')
  );
  table.replaceChildren(...ordered.flatMap(rowsOf));
  dialog.showModal();
}

const button = document.createElement('button');
Object.assign(button, { type: 'button', textContent: 'Keys', title: 'the keys of this page (?)' });
button.className = 'shortcuts-open';
button.setAttribute('aria-haspopup', 'dialog');
button.addEventListener('click', show);
one('.top').append(button);

document.addEventListener('keydown', (event) => {
  const typing = around(event)('input, select, textarea, dialog');
  if (event.key === '?' && !typing && !event.ctrlKey && !event.metaKey) show();
});

keysOf('Page', { '?': 'show these keys' });
