// Opening a picture of one's own.

import { gradio } from './context.js';
import { field, one, root, slot } from './dom.js';
import { heldPicture, holdPicture } from './held-picture.js';
import { addOption } from './lists.js';
import { page } from './page.js';
import { ask } from './server.js';

/**
 * The content of a file as a data: address.
 *
 * @param {File} file
 * @returns {Promise<string>}
 */
function addressOf(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(/** @type {string} */ (reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

let opening = 0; // number of the file that was opened last; an answer for an older one is dropped

/**
 * Opens a file and chooses the picture in it, or says why not.
 *
 * @param {File | undefined} file
 */
export async function openFile(file) {
  if (!file) return;
  opening += 1;
  const number = opening;
  /** @type {HTMLInputElement} */ (one('[data-file]')).value = '';
  const most = gradio.props.max_file_bytes;
  if (file.size > most) {
    return refusePicture(
      `<p role="alert">image: ${Math.ceil(file.size / 2 ** 20)} MiB are more than ` +
        `${most / 2 ** 20} MiB. Use a smaller file.</p>`,
    );
  }
  let data;
  try {
    data = await addressOf(file);
  } catch {
    return refusePicture(
      '<p role="alert">image: this file cannot be read. Use another one.</p>',
    );
  }
  const answer = await ask('open_picture', { data });
  if (number !== opening) return;
  if (answer.error) return refusePicture(answer.error.html);
  const { key, notes } = answer;
  holdPicture({ key, notes, data: answer.data, name: file.name });
  addOption('image', key, `Your picture: ${file.name}`);
  field('image').value = key;
  showNotes();
  page.changed();
}

/**
 * The choice stays as it was, so what is on the screen still holds; only the file is refused.
 *
 * @param {string} html
 */
export function refusePicture(html) {
  slot('notes').innerHTML = html;
  slot('notes').classList.add('refused');
  one('[data-use]', slot('notes'))?.remove();
}

/** Says what was done to the picture that is chosen. */
export function showNotes() {
  const held = heldPicture();
  const image = field('image').value;
  slot('notes').classList.remove('refused');
  slot('notes').textContent = held?.key === image
    ? held.notes.join(' ')
    : gradio.props.own_notes[image] ?? '';
}

/** Offers the picture that the browser holds, and takes files that are dropped on the page. */
export function offerPictures() {
  const held = heldPicture();
  if (held) addOption('image', held.key, `Your picture: ${held.name}`);
  root.addEventListener('dragover', (event) => event.preventDefault());
  root.addEventListener('drop', (event) => {
    event.preventDefault();
    openFile(event.dataTransfer.files[0]);
  });
}
