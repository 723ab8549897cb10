// The page's state: what is chosen, what is on the screen, and what is on its way.

/**
 * What the panel is to show.
 *
 * @typedef {object} Looking
 * @property {string} layer Name of the selected layer, or key of the selected row of a module.
 * @property {string} view Name of the tab.
 * @property {string} cell "channel" or "channel,row,column" of that layer; '' for none.
 * @property {string} token "row,column" of the grid; of a module also a token's number; '' for none.
 * @property {string} sorting Order of the maps.
 * @property {string} scale What the colours are comparable within.
 */

/**
 * What is asked of the server: every field of the choice as text, and what the answer depends on.
 *
 * @typedef {Record<string, any>} Request
 */

/**
 * @typedef {object} State
 *
 * Both pages:
 * @property {string} layer
 * @property {string} view
 * @property {string} cell
 * @property {string} token
 * @property {number} newest Number of the newest choice; an answer to an older one is dropped.
 * @property {Request | null} painted The request whose answer is on the screen.
 * @property {string} panelHtml What the panel was last filled with.
 * @property {number} mapsHeight Height left for maps (pixels).
 *
 * Stems:
 * @property {boolean} confirmed Whether the answer on the screen is of a run.
 * @property {{ layer?: string, cell: string[], token: string[] }} found What of each was asked for,
 *   and what of it there is.
 * @property {import('./server.js').Fault | null} fault The error on the screen.
 * @property {string | null} editorHtml What the editor was last filled with, until it is changed.
 * @property {boolean} rowsNewer Whether the editor was changed since its notation was written.
 * @property {boolean} pushDue Whether the newest choice is to be a new entry of the history.
 * @property {boolean} unfolded Whether the layers of the transformer blocks are shown.
 * @property {number} measuring Number of the measurement of time under way; 0 when there is none.
 * @property {Record<string, string>} said By field, what a link wrote into a field of numbers that
 *   shows none of it.
 *
 * Modules:
 * @property {number} reading How often the server had read the file when the screen was painted.
 * @property {string} wanted Key of the row a person chose, also while the module has no such row.
 * @property {Set<string>} opened Titles of the folds that are open.
 */

/** @type {State} */
export const state = {
  layer: '',
  view: 'maps',
  cell: '',
  token: '',
  newest: 0,
  painted: null,
  panelHtml: '',
  mapsHeight: 0,
  confirmed: false,
  found: { cell: [], token: [] },
  fault: null,
  editorHtml: null,
  rowsNewer: false,
  pushDue: false,
  unfolded: false,
  measuring: 0,
  said: {},
  reading: 0,
  wanted: '',
  opened: new Set(),
};
