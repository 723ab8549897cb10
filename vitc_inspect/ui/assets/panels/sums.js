// The sums of many input channels of a cell, as a list of bars.

import { all, one, slot } from '../common/dom.js';
import { floatsOf, numeralOf, withMinus } from '../common/numerals.js';

const SUMS_AT_ONCE = 120; // sums that are listed before "more" is asked for

let sumsOrder = 'size'; // of the input channels: "size" or "index"
/** @type {number | null} */
let sumsScroll = null; // where their list was scrolled to when one of them was chosen

/** @param {string} order "size" or "index". */
export function orderSums(order) {
  sumsOrder = order;
  listSums();
}

/** Lists all of them. */
export function listAllSums() {
  listSums(Infinity);
}

/** Keeps the list where it is scrolled to until the panel has been filled anew. */
export function holdSums() {
  sumsScroll = one('[data-cell-sums]', slot('panel')).scrollTop;
}

/** @param {number} value */
function sizeOf(value) {
  return Number.isNaN(value) ? Infinity : Math.abs(value);
}

/**
 * Lists the sums; nothing where the panel has none.
 *
 * @param {number} [most]
 */
export function listSums(most = SUMS_AT_ONCE) {
  const panel = slot('panel');
  const box = one('[data-cell-sums]', panel);
  if (!box) return;
  const [first, shown] = [Number(box.dataset.first), Number(box.dataset.shown)];
  const sums = floatsOf(box.dataset.cellSums);
  const order = [...sums.keys()];
  if (sumsOrder === 'size') order.sort((a, b) => sizeOf(sums[b]) - sizeOf(sums[a]) || a - b);
  const longest = Math.max(...[...sums].map(sizeOf).filter(Number.isFinite), 0) || 1;
  const count = order.indexOf(shown - first) >= most ? Infinity : most;
  const rows = order.slice(0, count).map((index) =>
    sumRow(first + index, sums[index], longest, first + index === shown)
  );
  const left = order.length - rows.length;
  if (left) {
    rows.push(`<button type="button" class="cell-more" data-cell-more>${left} more</button>`);
  }
  box.innerHTML = rows.join('');
  for (const button of all('[data-cell-order]', panel)) {
    button.setAttribute('aria-pressed', String(button.dataset.cellOrder === sumsOrder));
  }
  if (sumsScroll !== null) box.scrollTop = sumsScroll;
  sumsScroll = null;
}

/**
 * HTML of one sum.
 *
 * @param {number} channel
 * @param {number} value
 * @param {number} longest The largest finite size among the sums.
 * @param {boolean} pressed
 */
function sumRow(channel, value, longest, pressed) {
  const places = Math.min(9, Math.max(0, 3 - Math.floor(Math.log10(longest))));
  const length = 50 * Math.min(1, sizeOf(value) / longest);
  const bar = `left:${value < 0 ? 50 - length : 50}%;width:${length.toFixed(1)}%`;
  const sign = value < 0 ? 'minus' : 'plus';
  const said = Number.isFinite(value) ? withMinus(value.toFixed(places)) : numeralOf(value);
  return `<button type="button" data-cell-given="${channel}" aria-pressed="${pressed}">` +
    `<span class="channels">${channel}</span>` +
    `<span class="cell-bar"><i class="cell-${sign}" style="${bar}"></i></span>` +
    `<span>${said}</span></button>`;
}
