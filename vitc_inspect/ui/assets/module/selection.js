// Selecting a row, a view, a map or a place.

import { markView } from '../common/selection.js';
import { state } from '../common/state.js';
import { look } from './requests.js';
import { markRow } from './rows.js';

/**
 * Selects a row.
 *
 * @param {string} key
 * @param {string} [view]
 */
export function select(key, view = state.view) {
  if (!state.painted) return;
  if (key !== state.layer) Object.assign(state, { cell: '', token: '' });
  state.layer = state.wanted = key;
  markView(view);
  markRow();
  look();
}

/**
 * Selects a map ("7"), or a place of the output ("7,3,5", or ",3,5" from the picture of places).
 *
 * @param {string} chosen
 * @param {string} [view]
 */
export function selectCell(chosen, view = state.view) {
  if (view === 'reach') state.token = chosen.split(',').slice(1).join(',');
  else state.cell = chosen;
  markView(view);
  look();
}

/**
 * Selects a place of the output ("3,5") or a token by its number.
 *
 * @param {string} place
 */
export function selectToken(place) {
  state.token = place;
  look();
}
