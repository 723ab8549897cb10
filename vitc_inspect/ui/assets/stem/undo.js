// Undo: Back, or Ctrl+Z outside of a field of text, and what it took back.

import { one, root, slot, targetOf } from '../common/dom.js';
import { keysOf } from '../common/shortcuts.js';
import { changesSoFar } from './address.js';

/** @type {Record<string, string>} */
const NAMES = {
  stem: 'the stem',
  size: 'the image size',
  channels: 'the channels',
  class_token: 'the class token',
  table: 'the position table',
  image: 'the image',
  seed: 'the seed',
  device: 'the device',
  dtype: 'the dtype',
  encoder: 'the encoder',
  weights: 'the weights',
  norm_statistics: "BatchNorm's statistics",
  layer: 'the layer',
  view: 'the tab',
  cell: 'the cell',
  token: 'the token',
  sorting: 'the order of the maps',
  scale: 'the colours',
  fit: 'how the picture is fitted',
  table_of: 'the position table that is kept',
};

let before = location.search; // of the entry of the history that is left

/** Notes what the address says now. */
export function noteAddress() {
  before = location.search;
}

/** Says what going through the history has changed. */
export function sayWhatChanged() {
  const [then, now] = [before, location.search].map((text) => new URLSearchParams(text));
  const names = Object.keys(NAMES).filter((name) => then.get(name) !== now.get(name));
  const restored = names.map((name) => NAMES[name]).join(', ');
  slot('undone').textContent = restored && `Restored: ${restored}.`;
  noteAddress();
}

/** Says nothing of it any more. */
export function forgetWhatChanged() {
  slot('undone').textContent = '';
}

const TYPED = 'input:not([type=checkbox], [type=range]), textarea';

document.addEventListener('keydown', (event) => {
  const undoes = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key === 'z';
  if (!undoes || targetOf(event).matches?.(TYPED) || !one('.strip', root)) return;
  if (!changesSoFar()) return; // Back would leave the page
  event.preventDefault();
  history.back();
});

keysOf('Page', { 'Ctrl Z': 'take the last change back' });
