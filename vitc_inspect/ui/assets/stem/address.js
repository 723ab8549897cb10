// The address bar, which says what is on the screen.

import { gradio } from '../common/context.js';
import { state } from '../common/state.js';
import { presetOf, readControls } from './controls.js';

const LINK = gradio.props.link;
const FIELDS = [...LINK.always, ...LINK.changed]; // the fields of a link, in order

/** @param {string} text */
function readable(text) {
  return encodeURIComponent(text)
    .replace(/%20/g, '+').replace(/%2F/g, '/').replace(/%3A/g, ':').replace(/%2C/g, ',');
}

function address() {
  const choice = readControls();
  const word = choice.height === choice.width && !/\d/.test(choice.height); // of a link, not a size
  const size = word ? choice.height : `${choice.height}x${choice.width}`;
  /** @type {Record<string, string>} */
  const values = { ...choice, size, channels: choice.in_channels, table: choice.position_table };
  const { found, cell, layer, token } = state;
  // a link may ask for a cell or a token that is not there
  if (cell === found.cell[0] && layer === found.layer) values.cell = found.cell[1];
  if (token === found.token[0]) values.token = found.token[1];
  values.encoder = choice.encoder === '1'
    ? LINK.encoder.map((name) => choice[name]).join(',')
    : 'off';
  const written = FIELDS.filter((name) =>
    name === 'table'
      ? values.table === '0'
      : LINK.always.includes(name) || values[name] !== gradio.props.start[name]
  );
  const parts = written.map((name) => `${name}=${readable(values[name])}`);
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (![...FIELDS, 'preset'].includes(name)) parts.push(`${readable(name)}=${readable(value)}`);
  }
  return `${location.pathname}?${parts.join('&')}`;
}

/** Writes what is chosen into the address; where that is due as a new entry of the history. */
export function writeAddress() {
  const next = address();
  const method = state.pushDue ? 'pushState' : 'replaceState';
  state.pushDue = false;
  if (next === location.pathname + location.search) return;
  history[method]({ changes: changesSoFar() + Number(method === 'pushState') }, '', next);
}

/** How many entries of the history this page has written before this one. */
export function changesSoFar() {
  return Number(history.state?.changes ?? 0);
}

/**
 * The choice that the address asks for; what it does not say is as at the start.
 *
 * @returns {Record<string, string>}
 */
export function readAddress() {
  const query = new URLSearchParams(location.search);
  const preset = query.get('preset'); // the address is written without it, since the stem says it all
  /** @type {Record<string, string>} */
  const choice = { ...gradio.props.start, ...(preset && presetOf(preset)), preset };
  for (const name of FIELDS) if (query.has(name)) choice[name] = query.get(name);
  if (query.has('size')) {
    const [height, ...width] = query.get('size').split(/(?<=\d)\s*[x×]\s*|\s*[x×]\s*(?=-?\d)/i);
    Object.assign(choice, { height, width: width.length ? width.join('x') : height });
  }
  if (query.has('channels')) choice.in_channels = query.get('channels');
  // a link that says the stem and nothing of a table is of a stem that has one
  if (query.has('table') || query.has('stem')) choice.position_table = query.get('table') ?? '1';
  if (query.has('encoder')) readEncoder(query.get('encoder'), choice);
  return choice;
}

/**
 * @param {string} text
 * @param {Record<string, string>} choice
 */
function readEncoder(text, choice) {
  const parts = text.split(',');
  choice.encoder = parts.length === LINK.encoder.length ? '1' : '0';
  if (choice.encoder === '0') return;
  LINK.encoder.forEach((name, i) => {
    choice[name] = parts[i];
  });
}
