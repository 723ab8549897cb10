// The link of what is on the screen, which is the page's address, copied.

import { one, slot } from '../common/dom.js';

const copyButton = one('[data-copy]');
const COPY = copyButton.textContent;
const ONLY_HERE = /^(localhost|127\..*|\[::1\])$/.test(location.hostname);

copyButton.title = ONLY_HERE
  ? 'the link of this view; it works on this machine only'
  : 'the link of this view';

/** @type {ReturnType<typeof setTimeout>} */
let copySaid = null; // timer of what is said after a copy

copyButton.addEventListener('click', async () => {
  sayOfCopy(await copied(location.href) ? 'Link copied' : 'Copy it from the address bar');
  clearTimeout(copySaid);
  copySaid = setTimeout(sayOfCopy, 3000, '');
});

/**
 * Says it on the button, and beside it for a screen reader.
 *
 * @param {string} words
 */
function sayOfCopy(words) {
  copyButton.textContent = words || COPY;
  slot('copied').textContent = words;
}

/**
 * Whether it was; the second way is for pages without https, which may not use the first.
 *
 * @param {string} text
 */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedFromAField(text);
  }
}

/** @param {string} text */
function copiedFromAField(text) {
  const hidden = document.createElement('textarea');
  hidden.value = text;
  copyButton.after(hidden);
  hidden.select();
  const done = document.execCommand('copy');
  hidden.remove();
  copyButton.focus();
  return done;
}
