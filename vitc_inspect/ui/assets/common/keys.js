// Walking along the table, the strip and the tabs by keys.

import { all, around, root } from './dom.js';
import { page } from './page.js';
import { keysOf } from './shortcuts.js';
import { state } from './state.js';
import { walkTheTable } from './table.js';

/**
 * @param {HTMLElement} block
 * @param {KeyboardEvent} event
 */
function walkTheStrip(block, event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (event.key === 'Enter' || event.key === ' ') {
    event.preventDefault();
    page.select(block.dataset.layer);
  }
  if (!step) return;
  const blocks = all('.strip [role=button]');
  blocks[blocks.indexOf(block) + step]?.focus();
}

/** @param {KeyboardEvent} event */
function walkTheTabs(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const end = { Home: 0, End: -1 }[event.key];
  if (!step && end === undefined) return;
  event.preventDefault();
  const tabs = all('.tabs [data-view]').filter((tab) => tab.checkVisibility());
  const at = tabs.findIndex((tab) => tab.dataset.view === state.view);
  const other = tabs.at(step ? (at + step) % tabs.length : end);
  page.select(state.layer, other.dataset.view);
  other.focus();
}

root.addEventListener('keydown', (event) => {
  const on = around(event);
  const line = on('.table tbody button')?.closest('tr');
  if (line) return walkTheTable(line, event);
  const block = on('.strip [role=button]');
  if (block) walkTheStrip(block, event);
  if (on('.tabs [data-view]')) walkTheTabs(event);
});

keysOf('Strip', { '← →': 'go from layer to layer', 'Enter': 'choose the layer' });
keysOf('Tabs', { '← → Home End': 'choose a tab' });
keysOf('Table', {
  '↑ ↓ Home End': 'choose a layer',
  '→ ←': 'open and close folded rows',
});
