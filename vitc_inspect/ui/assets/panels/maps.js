// The panel of maps: what a person does on the wall and on one map, and files of both.

import { around, one, root, slot } from '../common/dom.js';
import { bytesOf } from '../common/numerals.js';
import { page } from '../common/page.js';
import { onPanel, showPanel } from '../common/panel.js';
import { looking } from '../common/selection.js';
import { ask } from '../common/server.js';
import { keysOf } from '../common/shortcuts.js';
import { state } from '../common/state.js';
import { pointUnder, resetPlane, takeApart, walkThePlane } from './plane.js';
import { findMap, placeOn, resetWall, walkTheWall } from './wall.js';

onPanel(() => {
  resetWall();
  resetPlane();
});

root.addEventListener('mousemove', (event) => {
  const on = around(event);
  const image = on('.wall img');
  if (image) {
    const place = placeOn(image, event);
    one('.hover', image.closest('figure')).textContent = place?.words ?? '';
    page.pointedInMap(place?.share ?? null);
  }
  const plane = on('[data-plane]');
  if (plane) pointUnder(plane, event);
});

slot('panel').addEventListener('mouseleave', () => page.pointedInMap(null));

root.addEventListener('click', (event) => {
  const on = around(event);
  const image = on('.wall img');
  const hit = image && placeOn(image, event);
  if (hit && 'index' in hit) return page.selectCell(String(hit.index), 'maps');
  const plane = on('[data-plane]');
  if (plane) {
    pointUnder(plane, event);
    return takeApart(plane);
  }
  if (on('[data-map]')) return page.selectCell(on('[data-map]').dataset.map, 'maps');
  if (on('[data-save]')) save(on('[data-save]').dataset.save);
});

root.addEventListener('keydown', (event) => {
  const on = around(event);
  if (on('.wall')) walkTheWall(on('.wall'), event);
  if (on('[data-plane]')) walkThePlane(on('[data-plane]'), event);
});

// Of the document, since a page that a link has opened has no focus yet.
document.addEventListener('keydown', (event) => {
  const typing = around(event)('input, select, textarea');
  const large = state.view === 'maps' && state.cell;
  if (event.key === 'Escape' && large && !typing) page.selectCell('', 'maps'); // one level up
});

const finder = /** @type {HTMLInputElement} */ (one('[data-find]'));
finder.addEventListener('input', () => findMap(finder, false));
finder.addEventListener('keydown', (event) => {
  if (event.key === 'Enter') findMap(finder, true);
});

/** @param {string} what "wall" or "map" as the picture on the screen, or "tensor". */
async function save(what) {
  if (what !== 'tensor') {
    const image = /** @type {HTMLImageElement} */ (
      one('.wall img, [data-plane] img', slot('panel'))
    );
    const map = what === 'map' ? `-map${state.cell}` : '';
    return download(`${state.layer}${map}.png`, image.src);
  }
  const answer = await ask('save', { ...state.painted, ...looking() });
  if (answer.error) return showPanel(answer.error.html);
  const address = URL.createObjectURL(new Blob([bytesOf(answer.data)]));
  download(answer.name, address);
  URL.revokeObjectURL(address);
}

/**
 * @param {string} name
 * @param {string} address
 */
function download(name, address) {
  const link = document.createElement('a');
  Object.assign(link, { href: address, download: name });
  link.click();
}

keysOf('Wall of maps', { '↑ ↓ ← →': 'move the frame', 'Enter': 'open the map' });
keysOf('Map', {
  '↑ ↓ ← →': 'move the cursor',
  'Enter': 'take the value apart',
  'Esc': 'go back to all maps',
});
