// Numbers: read from what was sent, kept in a range, and written out.

/**
 * Numbers of four bytes each, the lowest byte first, from base64.
 *
 * @param {string} text
 */
export function floatsOf(text) {
  const bytes = bytesOf(text);
  const numbers = new DataView(bytes.buffer);
  return Float32Array.from(
    { length: bytes.length / 4 },
    (_, i) => numbers.getFloat32(4 * i, true),
  );
}

/**
 * Bytes from base64.
 *
 * @param {string} text
 */
export function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/**
 * A whole number of the attributes of an element, for each name.
 *
 * @param {HTMLElement | SVGElement} part
 * @param {...string} names
 */
export function numbersOf(part, ...names) {
  return names.map((name) => Number(part.dataset[name]));
}

/**
 * A value with four digits, as a person reads it.
 *
 * @param {number} value
 */
export function numeralOf(value) {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '−inf';
  return withMinus(Number(value.toPrecision(4)));
}

/**
 * A number with the sign of print.
 *
 * @param {number | string} number
 */
export function withMinus(number) {
  return String(number).replaceAll('-', '−');
}

/**
 * The place nearest to a value, of as many as there are.
 *
 * @param {number} value
 * @param {number} count
 */
export function clamp(value, count) {
  return Math.min(count - 1, Math.max(0, value));
}

/**
 * "1 token", "2 tokens".
 *
 * @param {number} count
 * @param {string} noun
 */
export function counted(count, noun) {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}

/**
 * Rows and columns that an arrow key moves by.
 *
 * @type {Record<string, [number, number]>}
 */
export const ARROWS = {
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
};
