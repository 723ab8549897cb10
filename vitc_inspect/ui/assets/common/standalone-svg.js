// An <svg> of the page as one that needs no style sheet: what the page's styles give is written out.

const SVG = 'http://www.w3.org/2000/svg';
const BLANK = { 'transform': 'none', 'opacity': '1', 'filter': 'none', 'mask': 'none' };
/** What is not handed down, with the value that says nothing. */
const OWN = {
  ...BLANK,
  'clip-path': 'none',
  'mask-type': 'luminance',
  'stop-color': 'rgb(0, 0, 0)',
  'stop-opacity': '1',
};
/** What an element hands down to those in it. */
const INHERITED = [
  ...['fill', 'fill-opacity', 'fill-rule', 'clip-rule', 'stroke', 'stroke-opacity'],
  ...['stroke-width', 'stroke-dasharray', 'stroke-dashoffset', 'stroke-linecap'],
  ...['stroke-linejoin', 'stroke-miterlimit', 'font-family', 'font-size', 'font-weight'],
  ...['font-style', 'text-anchor', 'dominant-baseline', 'paint-order', 'image-rendering'],
  ...['visibility', 'color'],
];
const UNSEEN = 'defs, pattern, mask, clipPath, linearGradient, symbol, marker'; // drawn where used
const OF_THE_PAGE = /^(class|style|tabindex|role|aria-.*|data-.*|decoding|vector-effect)$/;

/**
 * A new element of an SVG.
 *
 * @param {string} name
 * @param {Record<string, string | number>} [attributes]
 * @param {...(Node | string)} inside
 */
export function svgOf(name, attributes = {}, ...inside) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, rounded(value));
  made.append(...inside);
  return made;
}

/** @param {string | number} value */
function rounded(value) {
  return typeof value === 'number' ? String(Math.round(100 * value) / 100) : value;
}

/**
 * A copy with all its looks, and with copies of what it uses of others; its place is left to the
 * caller.
 *
 * @param {SVGSVGElement} drawn
 */
export function standalone(drawn) {
  const copy = /** @type {SVGSVGElement} */ (copyOf(drawn, null));
  for (let missing = used(copy); missing.length; missing = used(copy)) {
    const others = missing.map((id) => document.getElementById(id)).filter(Boolean);
    const copies = others.map((other) => copyOf(other, null)).filter(Boolean);
    for (const id of missing) {
      if (!copies.some((each) => each.id === id)) forget(copy, id);
    }
    copy.prepend(svgOf('defs', {}, ...copies));
  }
  return copy;
}

/**
 * Identifiers that something in an SVG refers to and nothing in it has.
 *
 * @param {Element} svg
 */
function used(svg) {
  const has = new Set([...svg.querySelectorAll('[id]')].map((each) => each.id));
  return [...referencesIn(svg)].filter((id) => !has.has(id));
}

/** @param {Element} svg */
function referencesIn(svg) {
  const found = new Set();
  for (const each of [svg, ...svg.querySelectorAll('*')]) {
    for (const { name, value } of each.attributes) {
      const id = name.endsWith('href') ? value.match(/^#(.+)/) : value.match(/url\(#([^)]+)/);
      if (id) found.add(id[1]);
    }
  }
  return found;
}

/**
 * @param {Element} svg
 * @param {string} id What nothing on the page has.
 */
function forget(svg, id) {
  for (const each of [...svg.querySelectorAll('*')]) {
    for (const { name, value } of [...each.attributes]) {
      if (value === `#${id}` || value.includes(`#${id})`)) each.removeAttribute(name);
    }
  }
}

/**
 * @param {Element} drawn
 * @param {CSSStyleDeclaration | null} above Styles of what it is in; null for the outermost.
 * @returns {Element | null} Null for what is not seen.
 */
function copyOf(drawn, above) {
  const style = getComputedStyle(drawn);
  if (style.display === 'none' && !drawn.matches(UNSEEN)) return null;
  const copy = document.createElementNS(SVG, drawn.localName);
  for (const { name, value } of drawn.attributes) {
    if (name === 'xlink:href') copy.setAttribute('href', value);
    else if (!OF_THE_PAGE.test(name) && !name.startsWith('xmlns')) copy.setAttribute(name, value);
  }
  for (const name of INHERITED) {
    const value = style.getPropertyValue(name);
    if (value !== above?.getPropertyValue(name)) copy.setAttribute(name, unquoted(value));
    else copy.removeAttribute(name);
  }
  for (const [name, nothing] of Object.entries(OWN)) {
    const value = style.getPropertyValue(name);
    if (value && value !== nothing) copy.setAttribute(name, unquoted(value).replaceAll('px', ''));
    else if (name !== 'transform') copy.removeAttribute(name);
  }
  if (style.vectorEffect === 'non-scaling-stroke') keepStroke(drawn, copy, style);
  for (const child of drawn.childNodes) {
    if (child instanceof Element) {
      const inner = copyOf(child, style);
      if (inner) copy.append(inner);
    } else if (child.nodeType === Node.TEXT_NODE) copy.append(child.textContent);
  }
  return copy;
}

/**
 * An address without its quotes, as every program reads it.
 *
 * @param {string} value
 */
function unquoted(value) {
  return value.replace(/url\("([^"]*)"\)/g, 'url($1)');
}

/**
 * A stroke as wide as on the screen, at any size of the picture.
 *
 * @param {Element} drawn
 * @param {Element} copy
 * @param {CSSStyleDeclaration} style
 */
function keepStroke(drawn, copy, style) {
  const to = /** @type {SVGGraphicsElement} */ (drawn).getScreenCTM?.();
  const scale = to ? Math.sqrt(Math.abs(to.a * to.d - to.b * to.c)) : 1;
  copy.setAttribute('stroke-width', String(parseFloat(style.strokeWidth) / scale || 0));
  if (style.strokeDasharray === 'none') return;
  const dashes = style.strokeDasharray.split(/[ ,]+/).map((each) => parseFloat(each) / scale);
  copy.setAttribute('stroke-dasharray', dashes.join(' '));
}

/**
 * Takes away the identifiers that nothing refers to, so that none is there twice for nothing.
 *
 * @param {Element} svg
 */
export function dropIdentifiers(svg) {
  const needed = referencesIn(svg);
  for (const each of svg.querySelectorAll('[id]')) {
    if (!needed.has(each.id)) each.removeAttribute('id');
  }
}
