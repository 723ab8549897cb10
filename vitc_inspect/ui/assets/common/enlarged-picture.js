// The chosen image beside its controls; a click shows it larger, as it is fed and as it was opened.

import { buttonOf, dialogOf } from './dialogs.js';
import { field, one, slot } from './dom.js';
import { onFilled } from './selection.js';
import { ask } from './server.js';
import { state } from './state.js';

const NO_PICTURE = 'random'; // the choice of random numbers instead of an image
const button = one('[data-enlarge]');
const thumb = /** @type {HTMLImageElement} */ (one('[data-thumb]', button));

const views = document.createElement('div');
const said = document.createElement('p');
said.className = 'soft';
const close = buttonOf('Close', () => dialog.close());
const dialog = dialogOf('enlarged', 'The image', views, said, close);

/** @param {{ title: string, data: string }} view */
function figureOf({ title, data }) {
  const figure = document.createElement('figure');
  const image = document.createElement('img');
  const caption = document.createElement('figcaption');
  Object.assign(image, { src: data, alt: title });
  image.addEventListener('load', () => {
    image.classList.toggle('few-pixels', image.naturalWidth < image.clientWidth);
  });
  caption.textContent = title;
  figure.append(image, caption);
  return figure;
}

button.addEventListener('click', async () => {
  const asked = state.painted;
  if (!asked) return;
  views.replaceChildren(figureOf({ title: 'loading…', data: thumb.src }));
  said.textContent = '';
  dialog.showModal();
  const answer = await ask('picture', asked);
  if (!dialog.open) return;
  if (answer.error) {
    views.innerHTML = answer.error.html;
    one('button', views)?.remove(); // which is of the page behind
    return;
  }
  views.replaceChildren(...answer.views.map(figureOf));
  said.textContent = answer.crop;
});

onFilled('strip', () => {
  const photo = one('.block.input image', slot('strip'));
  const address = photo?.getAttribute('href');
  button.hidden = !address || field('image').value === NO_PICTURE;
  if (address) thumb.src = address;
});
