// The glossary: a term that is pressed opens a card beside it, which Escape or a press elsewhere
// closes. There is one card, so that never more than one is open.

import { gradio } from './context.js';
import { around, root } from './dom.js';

const GAP = 8; // between the card, its term and the window's edges (px)
const card = document.createElement('div');
Object.assign(card, { className: 'term-card', popover: 'auto', tabIndex: -1 });
card.setAttribute('role', 'dialog');
card.setAttribute('aria-labelledby', 'term-title');
card.setAttribute('aria-describedby', 'term-text');
card.innerHTML = '<h2 id="term-title"></h2><p id="term-text"></p><code></code><small></small>' +
  '<button type="button" aria-label="Close">×</button>';
const [title, text, formula, source, close] = card.children;
root.append(card);
card.autofocus = true; // when it opens; an element that is inserted with it asks for the focus at once

/** @type {HTMLElement | null} */
let opener = null; // the term whose card is open
/** @type {HTMLElement | null} */
let pressed = null; // the same when the pointer went down, before that closed the card

/** @param {Record<string, string>} entry */
function fill({ title: name, text: words, formula: equation, source: where }) {
  title.textContent = name;
  text.textContent = words;
  formula.textContent = equation;
  source.textContent = where;
}

// Below the term or, where there is no room, above it; inside the window in any case.
function place() {
  const at = opener.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = card;
  const { clientWidth, clientHeight } = document.documentElement;
  const below = at.bottom + GAP / 2;
  const above = at.top - height - GAP / 2;
  const top = below + height + GAP > clientHeight && above >= GAP ? above : below;
  /** @type {(start: number, length: number, room: number) => number} */
  const inside = (start, length, room) => Math.max(GAP, Math.min(start, room - length - GAP));
  card.style.left = `${inside(at.left, width, clientWidth)}px`;
  card.style.top = `${inside(top, height, clientHeight)}px`;
}

function follow() {
  if (opener?.isConnected) place();
  else card.hidePopover(); // what it explained is gone
}

/** @param {HTMLElement} button */
function open(button) {
  if (!gradio.props.glossary[button.dataset.term]) return;
  if (opener) card.hidePopover();
  fill(gradio.props.glossary[button.dataset.term]);
  button.focus({ preventScroll: true }); // where the focus is to return to; Safari does not set it
  opener = button;
  button.setAttribute('aria-expanded', 'true');
  card.showPopover();
  place();
  window.addEventListener('scroll', follow, { capture: true, passive: true });
  window.addEventListener('resize', follow);
}

card.addEventListener('beforetoggle', (/** @type {ToggleEvent} */ event) => {
  if (event.newState === 'open') return;
  opener?.removeAttribute('aria-expanded');
  opener = null;
  window.removeEventListener('scroll', follow, { capture: true });
  window.removeEventListener('resize', follow);
});
close.addEventListener('click', () => card.hidePopover());

root.addEventListener('pointerdown', () => {
  pressed = opener;
}, { capture: true });
// Before the page's own listeners, to which a row or a tab around the term was meant.
root.addEventListener('click', (event) => {
  const button = around(event)('[data-term]');
  if (!button) return;
  event.stopPropagation();
  if (event.detail && pressed === button) return; // the press has closed it
  if (opener === button) card.hidePopover();
  else open(button);
}, { capture: true });
document.addEventListener('keydown', (event) => {
  if (!opener) return;
  if (event.key === 'Escape') {
    event.preventDefault();
    card.hidePopover();
  } else if (!card.contains(/** @type {Node} */ (event.target))) return;
  event.stopPropagation(); // the page's own shortcuts are not meant
}, { capture: true });
