// Selecting a layer, a view, a cell or a token.

import { markLayer, markView } from '../common/selection.js';
import { state } from '../common/state.js';
import { look } from './requests.js';

const LAYER_VIEWS = ['maps', 'cell']; // those that show one layer; the others show the whole

/**
 * Selects a layer, and the view that shows it.
 *
 * @param {string} name
 * @param {string} [view]
 */
export function select(name, view = LAYER_VIEWS.includes(state.view) ? state.view : 'maps') {
  if (!state.painted) return;
  if (name !== state.layer) state.cell = '';
  state.layer = name;
  markLayer(name);
  markView(view);
  look();
}

/**
 * Selects a map ("7") or a cell ("7,0,12") of the selected layer, and the panel that shows it.
 *
 * @param {string} cell
 * @param {string} [view]
 */
export function selectCell(cell, view = state.view) {
  state.cell = cell;
  markView(view);
  look();
}

/**
 * Selects a token ("3,5": row and column of the grid).
 *
 * @param {string} token
 */
export function selectToken(token) {
  state.token = token;
  look();
}
