// What a link asks for and there is not: said in one sentence, with what stands instead.

import { gradio } from '../common/context.js';
import { all, slot } from '../common/dom.js';
import { option } from '../common/lists.js';
import { VIEWS } from '../common/selection.js';

const LINK = gradio.props.link;
const FIELDS = [...LINK.always, ...LINK.changed, 'preset'];
const OF_OTHERS = /^(utm_.*|__.*|access_token|fbclid|gclid)$/; // which sites add, and Gradio's own
const MOST = 5; // that are named
const LONGEST = 24; // characters of a value

/** @typedef {import('../common/server.js').Answer} Answer */

/** @type {string[] | null} */
let found = null; // what the newest link has lost so far; null when it has been said
/** @type {Record<string, string>} */
let asked = {}; // the layer, the cell and the token of that link

/**
 * What the address asks for and the page cannot show, before anything is predicted.
 *
 * @returns {string[]}
 */
export function lostOfAddress() {
  const query = new URLSearchParams(location.search);
  const lost = [];
  const encoder = query.get('encoder') ?? 'off';
  if (!['off', '0'].includes(encoder) && encoder.split(',').length !== LINK.encoder.length) {
    lost.push(inPlaceOf('encoder', encoder, 'no encoder'));
  }
  for (const name of ['class_token', 'table']) {
    if (!['0', '1', null].includes(query.get(name))) {
      const on = name === 'table' ? 'a position table' : 'no class token';
      lost.push(inPlaceOf(name, query.get(name), on));
    }
  }
  const view = query.get('view');
  if (view && !VIEWS.includes(view)) lost.push(inPlaceOf('view', view, titleOf('maps')));
  for (const name of ['sorting', 'scale']) {
    const value = query.get(name);
    if (value && !option(name, value)) {
      lost.push(inPlaceOf(name, value, option(name, gradio.props.start[name]).text));
    }
  }
  const others = new Set([...query.keys()].filter((name) => name && !FIELDS.includes(name)));
  for (const name of others) {
    if (!OF_OTHERS.test(name)) lost.push(`“${short(name)}”, which is no part of a link`);
  }
  return lost;
}

/**
 * @param {string} name
 * @param {string} value
 * @param {string} instead
 */
function inPlaceOf(name, value, instead) {
  return `${name} “${short(value)}”, ${instead} instead`;
}

/** @param {string} text */
function short(text) {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** @param {string} view */
function titleOf(view) {
  return all('[data-view]').find((tab) => tab.dataset.view === view).textContent;
}

/**
 * Notes what a link has lost, to be said with the first answer.
 *
 * @param {string[]} lost
 * @param {Record<string, string>} choice What it asks for.
 */
export function noteLost(lost, { layer, cell, token }) {
  found = lost;
  asked = { layer, cell, token };
}

/** Forgets what a link has lost, since something else has been chosen. */
export function forgetLost() {
  found = null;
}

/**
 * Says what the newest link has lost, once; an answer says which layer, cell and token there is.
 *
 * @param {Answer} answer
 */
export function sayLost(answer) {
  if (!found) return;
  const lost = found;
  found = null;
  if (!answer.error && !answer.table_first) {
    if (asked.layer && asked.layer !== answer.layer) {
      lost.push(inPlaceOf('layer', asked.layer, answer.layer));
    }
    for (const name of ['cell', 'token']) {
      const there = name === 'cell' ? answer.cell : answer.token;
      if (asked[name] && !there) lost.push(inPlaceOf(name, asked[name], 'none'));
    }
  }
  if (!lost.length) return;
  const named = lost.slice(0, MOST);
  if (lost.length > MOST) named.push(`and ${lost.length - MOST} more`);
  slot('undone').textContent = `Not restored from the link: ${named.join('; ')}.`;
}
