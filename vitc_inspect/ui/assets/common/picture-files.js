// An SVG as a file of its own: its pictures and fonts inside it, or as a PNG.

import { svgOf } from './standalone-svg.js';

/** Width of a PNG (pixels), as a slide has. */
export const SLIDE = 1920;
const LARGEST = 8192; // side of a PNG (pixels)

/**
 * The text of an SVG with all it shows inside it.
 *
 * @param {Element} svg
 */
export async function fileOf(svg) {
  for (const image of svg.querySelectorAll('image')) {
    const href = image.getAttribute('href');
    if (href && !href.startsWith('data:')) image.setAttribute('href', await inside(href));
  }
  const fonts = await fontsOf(svg);
  if (fonts) svg.prepend(svgOf('style', {}, fonts));
  return new XMLSerializer().serializeToString(svg);
}

/**
 * @param {string} address
 * @returns {Promise<string>} The same as a data: address.
 */
async function inside(address) {
  const content = await (await fetch(address)).blob();
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(/** @type {string} */ (reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(content);
  });
}

/**
 * The fonts of the page that an SVG uses, as rules.
 *
 * @param {Element} svg
 */
async function fontsOf(svg) {
  const wanted = new Set();
  for (const each of svg.querySelectorAll('[font-family]')) {
    const weight = each.closest('[font-weight]')?.getAttribute('font-weight');
    wanted.add(`${firstFamily(each.getAttribute('font-family'))} ${weight}`);
  }
  const rules = [...document.styleSheets].flatMap(rulesOf);
  const texts = rules.map(async (rule) => {
    const { fontFamily, fontWeight, src } = /** @type {any} */ (rule.style);
    const name = firstFamily(rule.style.getPropertyValue('font-family') || fontFamily);
    const weight = rule.style.getPropertyValue('font-weight') || fontWeight || '400';
    if (!wanted.has(`${name} ${weight}`)) return '';
    const address = (rule.style.getPropertyValue('src') || src).match(/url\("?([^")]+)/)?.[1];
    if (!address) return '';
    const base = rule.parentStyleSheet.href ?? location.href;
    const data = await inside(new URL(address, base).href);
    const face = `font-family:'${name}';font-weight:${weight};src:url(${data})`;
    return `@font-face{${face}}`;
  });
  return (await Promise.all(texts)).join('');
}

/**
 * @param {CSSStyleSheet} sheet
 * @returns {CSSFontFaceRule[]}
 */
function rulesOf(sheet) {
  let rules;
  try {
    rules = [...sheet.cssRules];
  } catch {
    return []; // of another site, as an extension's
  }
  return /** @type {CSSFontFaceRule[]} */ (rules.filter((each) => each instanceof CSSFontFaceRule));
}

/** @param {string} families */
function firstFamily(families) {
  return families.split(',')[0].trim().replace(/^["']|["']$/g, '');
}

/**
 * A PNG of an SVG, as wide as a slide.
 *
 * @param {string} text
 * @returns {Promise<Blob>}
 */
export async function pngOf(text) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const scale = Math.min(SLIDE / image.width, LARGEST / image.height);
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(scale * image.width);
  canvas.height = Math.round(scale * image.height);
  canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
}

/**
 * Gives a file to the person.
 *
 * @param {string} name
 * @param {Blob} content
 */
export function download(name, content) {
  const link = document.createElement('a');
  Object.assign(link, { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // some browsers read it late
}

/**
 * A part of a file's name that every system takes.
 *
 * @param {string} words
 */
export function safe(words) {
  const plain = words.normalize('NFKD').replace(/[^a-zA-Z0-9-]+/g, '_').replace(/^_+|_+$/g, '');
  return plain.toLowerCase().slice(0, 60);
}
