// Pictures to keep: which there are of the strip and the panel, and the buttons that save one.

import { gradio } from '../common/context.js';
import { buttonOf } from '../common/dialogs.js';
import { all, field, one, slot } from '../common/dom.js';
import { framed } from '../common/framed-picture.js';
import { onPanel } from '../common/panel.js';
import { download, fileOf, pngOf, safe } from '../common/picture-files.js';
import { state } from '../common/state.js';

/**
 * What is offered of a tab: the name in a file's name, how it is called, and the parts of the panel
 * in it, by column. One whose first part is not there is not offered.
 *
 * @type {{ view: string, name: string, called: string, columns: string[][] }[]}
 */
const OFFERED = [
  { view: 'maps', name: 'maps', called: 'Maps', columns: [['.maps:has(img)']] },
  {
    view: 'cell',
    name: 'cell',
    called: 'Cell',
    columns: [
      ['.cell-slide', '.cell-sums'],
      ['.cell-equation', '.cell-products', '.cell-ledger', '.cell-apart'],
    ],
  },
  {
    view: 'tokens',
    name: 'token',
    called: 'Token',
    columns: [
      ['.token-legends', '.token-stage'],
      ['.token-near', '.token-facts', '.token-cells', '.token-figures'],
    ],
  },
  { view: 'tokens', name: 'order', called: 'Grid to sequence', columns: [['.token-order']] },
  {
    view: 'pixels',
    name: 'coverage',
    called: 'Coverage',
    columns: [['.pixel-figure', '.pixel-legend'], ['.pixel-verdict', '.pixel-facts', '.remark']],
  },
  {
    view: 'reach',
    name: 'reads',
    called: 'What it reads',
    columns: [['.reach-picker figure'], ['.reach-input figure'], ['.token-near', '.token-facts']],
  },
  { view: 'cost', name: 'cost', called: 'Cost', columns: [['.shares', '.remark']] },
  { view: 'time', name: 'time', called: 'Time', columns: [['.figures', '.times-box']] },
];

/** The tabs that are of one layer; the others are of the whole stem. */
const OF_A_LAYER = ['maps', 'cell', 'reach'];

/**
 * @typedef {object} Kept A picture that can be kept.
 * @property {string} name
 * @property {string} called
 * @property {string} title
 * @property {HTMLElement[][]} columns
 */

/** @returns {Kept[]} */
function pictures() {
  const panel = slot('panel');
  /** @type {Kept[]} */
  const found = [];
  for (const { view, name, called, columns } of OFFERED) {
    if (view !== state.view) continue;
    const parts = columns.map((column) =>
      column.map((part) => one(part, panel)).filter((part) => part)
    );
    if (!one(columns[0][0], panel)) continue;
    const map = name === 'maps' && one('[data-plane]', panel);
    found.push({
      name: map ? `map-${state.cell.split(',')[0]}` : name + placeOf(name),
      called: map ? 'Map' : called,
      title: name === 'order' ? called : headline(panel) || called,
      columns: parts.filter((column) => column.length),
    });
  }
  for (const plot of all('.plot', panel)) {
    const title = titleOf(plot);
    found.push({ name: safe(title).slice(0, 40), called: title, title, columns: [[plot]] });
  }
  const strip = one('.strip', slot('strip'));
  if (strip) {
    found.push({ name: 'strip', called: 'Strip', title: stripTitle(), columns: [[strip]] });
  }
  return found;
}

/**
 * Which cell or token a panel is of, as its heading has it.
 *
 * @param {string} name
 */
function placeOf(name) {
  if (!['cell', 'token', 'reads'].includes(name)) return '';
  const parts = all('h2 :is(.channels, .area, .token)', slot('panel'));
  const numbers = parts.map((part) => part.textContent).join(' ').match(/\d+/g);
  return (numbers ?? []).map((each) => `-${each}`).join('');
}

/**
 * The heading of a panel, with the sizes beside it.
 *
 * @param {HTMLElement} panel
 */
function headline(panel) {
  return all('header > :is(h2, p:not(:has([data-map])))', panel).map(wordsOf).filter(Boolean).join(
    ', ',
  );
}

/** @param {HTMLElement} plot */
function titleOf(plot) {
  let before = plot.previousElementSibling;
  while (before && !before.matches('h3')) before = before.previousElementSibling;
  return wordsOf(before ?? plot) || plot.getAttribute('aria-label');
}

/** @param {Element} part */
function wordsOf(part) {
  return part?.textContent.replace(/\s+/g, ' ').trim() ?? '';
}

function stripTitle() {
  return wordsOf(one('[data-seq-len], .length'));
}

/** The module without the folders it is in, which are nobody's business on a slide. */
function moduleName() {
  return gradio.props.title.split(/[\\/]/).at(-1);
}

/** The stem by its title and in notation, or the module. */
function subject() {
  if (!gradio.props.presets) return moduleName();
  const title = gradio.props.presets[field('preset').value]?.title;
  return [title, state.painted?.stem].filter(Boolean).join(': ');
}

/** @param {Kept} kept */
function fileName(kept) {
  const of = gradio.props.presets
    ? field('preset').value || 'stem'
    : moduleName().replace('.py', '');
  const layer = kept.name !== 'strip' && OF_A_LAYER.includes(state.view) ? state.layer : '';
  return [of, layer, kept.name].map(safe).filter(Boolean).join('-') || 'picture';
}

const choice = document.createElement('select');
const said = document.createElement('span');

/** @param {string} kind "svg" or "png" */
async function save(kind) {
  const kept = pictures().find(({ name }) => name === choice.value);
  if (!kept) return;
  said.textContent = '';
  const name = `${fileName(kept)}.${kind}`;
  try {
    const { title, columns } = kept;
    const said = kept.name === 'strip' ? '' : stripTitle();
    const text = await fileOf(framed({ title, subject: subject(), said, columns }));
    download(
      name,
      kind === 'svg' ? new Blob([text], { type: 'image/svg+xml' }) : await pngOf(text),
    );
    say(`Saved as ${name}`);
  } catch {
    say(`${name} could not be made in this browser.`);
  }
}

/** @param {string} words */
function say(words) {
  said.textContent = words;
}

/** Offers what can be kept now; the choice stays where it still is one. */
function offer() {
  const offered = pictures();
  const names = offered.map(({ name }) => name);
  if (names.join() === [...choice.options].map((each) => each.value).join()) return;
  const before = choice.value;
  choice.replaceChildren(...offered.map(({ called, name }) => new Option(called, name)));
  if (before !== 'strip' && names.includes(before)) choice.value = before;
  say('');
}

const bar = document.createElement('div');
bar.className = 'keeping';
const label = document.createElement('label');
label.append('picture ', choice);
said.className = 'soft';
said.setAttribute('role', 'status');
const buttons = ['svg', 'png'].map((kind) => {
  const button = buttonOf(kind.toUpperCase(), () => save(kind));
  button.dataset.keep = kind;
  button.setAttribute('aria-label', `${kind.toUpperCase()}: save the picture`);
  return button;
});
bar.append('Save ', label, ...buttons, said);
slot('panel').after(bar);
for (const type of ['input', 'change']) { // which is no choice of the page's
  bar.addEventListener(type, (event) => event.stopPropagation());
}
for (const type of ['pointerenter', 'focusin']) bar.addEventListener(type, offer); // the strip may be newer

onPanel(() => {
  offer();
  // put in anew, so that it does not count as moved by itself where the panel's height has changed
  if (!bar.contains(document.activeElement)) slot('panel').after(bar);
});
