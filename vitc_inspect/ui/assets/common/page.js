// What each page does in its own way; its start fills it, so that what is shared can call it.

/**
 * @typedef {object} Change What was changed, and by what.
 * @property {string} [history] "push" for a new entry of the history, "replace" for none.
 * @property {string} [by] On the page for stems "text", "rows" or "other"; on that of a module the
 *   function of the server that answers: "show" or "reload".
 * @property {boolean} [structure] Whether rows of the editor came, went or moved.
 */

/**
 * @typedef {object} Page
 * @property {(change?: Change) => void} changed Asks for the answer to what is chosen now.
 * @property {(layer: string, view?: string) => void} select
 * @property {(cell: string, view?: string) => void} selectCell
 * @property {(token: string) => void} selectToken
 * @property {(line: HTMLElement, open?: boolean) => void} toggleFold Opens or closes a fold's line.
 * @property {(token: number[] | null) => void} pointed Called with the token that is pointed at.
 * @property {(share: number[] | null) => void} pointedInMap Called with the place of the chosen
 *   layer's output that is pointed at: shares of its height and its width.
 * @property {() => void} panelPlaced Called when the browser lays out a panel that was filled.
 */

/** @type {Page} */
export const page = {
  changed() {},
  select() {},
  selectCell() {},
  selectToken() {},
  toggleFold() {},
  pointed() {},
  pointedInMap() {},
  panelPlaced() {},
};
