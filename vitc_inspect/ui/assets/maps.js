// The wall of maps: which map the pointer is on, one map large, its values, and files of both.

// Which place of the wall is under the pointer: a map's number, or a token's with its channel.
function placeOn(image, event) {
  const box = image.getBoundingClientRect();
  const [columns, count, gap] = ['columns', 'count', 'gap'].map((name) => Number(image.dataset[name]));
  const [width, height] = [Number(image.getAttribute('width')), Number(image.getAttribute('height'))];
  const x = (event.clientX - box.left) * (width / box.width); // in pixels of the picture
  const y = (event.clientY - box.top) * (height / box.height);
  if ('sequence' in image.dataset) {
    return { words: `token ${Math.floor(y) * Number(image.dataset.step)}, channel ${Math.floor(x)}` };
  }
  const rows = Math.ceil(count / columns);
  const column = Math.floor(x / ((width + gap) / columns));
  const place = Math.floor(y / ((height + gap) / rows)) * columns + column;
  if (column >= columns || place >= count) return null;
  return { place, index: mapAt(image, place), words: `map ${mapAt(image, place)}` };
}

function mapAt(image, place) {
  return image.dataset.order ? Number(image.dataset.order.split(',')[place]) : place;
}

// A frame around one map of the wall, for the keyboard and for what was searched.
let framed = 0; // place of the framed map

function frame(wall, place) {
  const image = wall.querySelector('img');
  const [columns, count, gap] = ['columns', 'count', 'gap'].map((name) => Number(image.dataset[name]));
  framed = Math.min(count - 1, Math.max(0, place));
  const [width, height] = [Number(image.getAttribute('width')), Number(image.getAttribute('height'))];
  const rows = Math.ceil(count / columns);
  const [across, down] = [(width + gap) / columns, (height + gap) / rows];
  let mark = wall.querySelector('.cursor');
  if (!mark) {
    mark = document.createElement('i');
    mark.className = 'cursor';
    wall.append(mark);
  }
  Object.assign(mark.style, {
    left: `${(100 * (framed % columns) * across) / width}%`,
    top: `${(100 * Math.floor(framed / columns) * down) / height}%`,
    width: `${(100 * (across - gap)) / width}%`,
    height: `${(100 * (down - gap)) / height}%`,
  });
  wall.closest('figure').querySelector('.hover').textContent = `map ${mapAt(image, framed)}`;
}

const KEY_STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function walkTheWall(wall, event) {
  const image = wall.querySelector('img');
  if ('sequence' in image.dataset) return;
  if (event.key === 'Enter') selectCell(String(mapAt(image, framed)), 'maps');
  const step = KEY_STEPS[event.key];
  if (!step) return;
  event.preventDefault();
  frame(wall, wall.querySelector('.cursor') ? framed + step[0] * Number(image.dataset.columns) + step[1] : 0);
}

// ---- one map -------------------------------------------------------------------------------

const planeValues = new WeakMap(); // of each plane, row by row, once they are asked for
let planeAt = [0, 0]; // row and column under the cursor, of the values that were sent

onPanel.push(() => {
  framed = 0;
  planeAt = [0, 0];
});

function valueOn(plane, place) {
  if (!planeValues.has(plane)) {
    const sent = plane.closest('figure').querySelector('[data-values]').dataset.values;
    const bytes = Uint8Array.from(atob(sent), (letter) => letter.charCodeAt(0));
    planeValues.set(plane, new Float32Array(bytes.buffer));
  }
  return planeValues.get(plane)[place];
}

function numeralOf(value) {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '−inf';
  return withMinus(Number(value.toPrecision(4)));
}

function withMinus(number) {
  return String(number).replaceAll('-', '−');
}

function pointAt(plane, row, column) {
  const [rows, columns, step] = ['rows', 'columns', 'step'].map((name) => Number(plane.dataset[name]));
  planeAt = [Math.min(rows - 1, Math.max(0, row)), Math.min(columns - 1, Math.max(0, column))];
  const [r, c] = planeAt;
  const mark = plane.querySelector('.cursor');
  mark.hidden = false;
  Object.assign(mark.style, {
    left: `${(100 * c) / columns}%`, top: `${(100 * r) / rows}%`, width: `${100 / columns}%`, height: `${100 / rows}%`,
  });
  const value = valueOn(plane, r * columns + c);
  plane.closest('figure').querySelector('.hover').textContent
    = `row ${r * step}, column ${c * step}: ${numeralOf(value)}`;
}

function pointerOn(plane, event) {
  const box = plane.getBoundingClientRect();
  const [rows, columns] = ['rows', 'columns'].map((name) => Number(plane.dataset[name]));
  return [
    Math.floor(((event.clientY - box.top) / box.height) * rows),
    Math.floor(((event.clientX - box.left) / box.width) * columns),
  ];
}

function takeApart(plane) {
  if (!plane.dataset.opens) return;
  const [row, column] = planeAt.map((at) => at * Number(plane.dataset.step));
  selectCell(`${plane.dataset.plane},${row},${column}`, plane.dataset.opens);
}

function walkThePlane(plane, event) {
  if (event.key === 'Enter') takeApart(plane);
  const step = KEY_STEPS[event.key];
  if (!step) return;
  event.preventDefault();
  pointAt(plane, planeAt[0] + step[0], planeAt[1] + step[1]);
}

// ---- what a person does ----------------------------------------------------------------------

root.addEventListener('mousemove', (event) => {
  const image = event.target.closest('.wall img');
  if (image) image.closest('figure').querySelector('.hover').textContent = placeOn(image, event)?.words ?? '';
  const plane = event.target.closest('[data-plane]');
  if (plane) pointAt(plane, ...pointerOn(plane, event));
});

root.addEventListener('click', (event) => {
  const on = (selector) => event.target.closest(selector);
  const image = on('.wall img');
  const hit = image && placeOn(image, event);
  if (hit && 'index' in hit) return selectCell(String(hit.index), 'maps');
  if (on('[data-plane]')) {
    pointAt(on('[data-plane]'), ...pointerOn(on('[data-plane]'), event));
    return takeApart(on('[data-plane]'));
  }
  if (on('[data-map]')) return selectCell(on('[data-map]').dataset.map, 'maps');
  if (on('[data-save]')) return void save(on('[data-save]').dataset.save);
});

root.addEventListener('keydown', (event) => {
  const wall = event.target.closest('.wall');
  if (wall) walkTheWall(wall, event);
  const plane = event.target.closest('[data-plane]');
  if (plane) walkThePlane(plane, event);
});

// Of the document, since a page that a link has opened has no focus yet.
document.addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input, select, textarea');
  if (event.key === 'Escape' && view === 'maps' && cell && !typing) selectCell('', 'maps'); // one level up
});

// A map by its index: framed while it is typed, large on Enter.
function findMap(input, open) {
  const image = slot('panel').querySelector('.wall img');
  const index = input.value.trim() === '' ? NaN : Number(input.value);
  const count = Number(image?.dataset.count);
  const known = Number.isInteger(index) && index >= 0 && index < count;
  input.setAttribute('aria-invalid', String(Boolean(image) && input.value.trim() !== '' && !known));
  if (!known) return;
  if (open) return selectCell(String(index), 'maps');
  const order = image.dataset.order?.split(',').map(Number);
  frame(image.closest('.wall'), order ? order.indexOf(index) : index);
}

root.querySelector('[data-find]').addEventListener('input', (event) => findMap(event.target, false));
root.querySelector('[data-find]').addEventListener('keydown', (event) => {
  if (event.key === 'Enter') findMap(event.target, true);
});

// ---- files -----------------------------------------------------------------------------------

async function save(what) {
  if (what !== 'tensor') {
    const image = slot('panel').querySelector('.wall img, [data-plane] img');
    return hand(`${layer}${what === 'map' ? `-map${cell}` : ''}.png`, image.src);
  }
  const answer = await ask('save', { ...painted, ...looking() });
  if (answer.error) return showPanel(answer.error.html);
  const bytes = Uint8Array.from(atob(answer.data), (letter) => letter.charCodeAt(0));
  const address = URL.createObjectURL(new Blob([bytes]));
  hand(answer.name, address);
  URL.revokeObjectURL(address);
}

function hand(name, address) {
  const link = document.createElement('a');
  Object.assign(link, { href: address, download: name });
  link.click();
}
