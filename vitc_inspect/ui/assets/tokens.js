// The token and pixel panels: which cell becomes which token, which token reads which pixel.

const MOST_MARKS = 1200; // tokens marked at once; of more only some are drawn
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

let tokenFacts = null; // what the panel says of the grid, read once a fill
let tokenOver = 'heat'; // what lies over the image: "heat", "likeness" or "bare"
let tokenCursor = [0, 0]; // row and column of the token the arrow keys stand on
let tokenPixel = null; // row and column of the pixel whose readers are marked
let tokenFocus = null; // selector of what had the keyboard when a token was chosen
let tokenPlace = 0; // place of the sequence the arrow keys stand on
let pixelFacts = null; // how often each row and column of pixels is read, read once a fill
let pixelCursor = null; // row and column of the pixel that is asked about

const inPanel = (selector) => slot('panel').querySelector(selector);
const clamp = (value, count) => Math.min(count - 1, Math.max(0, value));
const counted = (count, noun) => `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;

onPanel.push((panel) => {
  const tokens = panel.querySelector('.token-panel');
  tokenFacts = tokens && JSON.parse(tokens.dataset.tokens);
  if (tokens) {
    tokenCursor = [...tokenFacts.chosen];
    tokenPixel = null;
    showOver(tokenOver);
    sayToken();
    followCell(tokenFacts.chosen);
    if (tokenFocus && document.activeElement === document.body) {
      panel.querySelector(tokenFocus)?.focus({ preventScroll: true });
    }
  }
  const pixels = panel.querySelector('.pixel-panel');
  pixelFacts = pixels && JSON.parse(pixels.dataset.pixels);
  pixelCursor = null;
  if (pixels) sayPixel(null);
});

// ---- over the image --------------------------------------------------------------------------

function showOver(kind) {
  tokenOver = kind;
  inPanel('.token-panel').dataset.shown = kind;
  for (const button of slot('panel').querySelectorAll('[data-token-over]')) {
    button.setAttribute('aria-pressed', String(button.dataset.tokenOver === kind));
  }
}

// Where on a drawing the pointer is, in its own units.
function pointOn(svg, event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [point.y, point.x];
}

// The token whose point is under the pointer, or null between the points.
function tokenAt([y, x], stage) {
  const { first, stride, grid } = tokenFacts;
  const [unit, apart] = [stage.dataset.unit, stage.dataset.apart].map(Number);
  const pitch = stride * apart;
  const place = [y, x].map((at, axis) => apart * Math.round((at - first[axis]) / pitch));
  if (place.some((index, axis) => index < 0 || index >= grid[axis])) return null;
  const away = Math.hypot(...[y, x].map((at, axis) => at - first[axis] - place[axis] * stride));
  return away <= Math.min(7 * unit, 0.38 * pitch) ? place : null;
}

function pixelAt(point, size) {
  const pixel = point.map(Math.floor);
  return pixel.every((at, axis) => at >= 0 && at < size[axis]) ? pixel : null;
}

// Rows, or columns, of tokens that read a pixel: [start, first, last, step, …] where it changes.
function readersOf(axis, pixel) {
  const [, ...stretches] = tokenFacts.readers[axis].findLast(([start]) => start <= pixel);
  const found = [];
  for (let i = 0; i < stretches.length; i += 3) {
    for (let at = stretches[i]; at <= stretches[i + 1]; at += stretches[i + 2]) found.push(at);
  }
  return found;
}

function sayReaders(pixel) {
  if (tokenFacts.readers.includes(null)) return `pixel (${pixel.join(', ')})`;
  const [rows, columns] = pixel.map((at, axis) => readersOf(axis, at).length);
  if (!rows || !columns) return `pixel (${pixel.join(', ')}): no token reads it`;
  return `pixel (${pixel.join(', ')}): read by ${rows} × ${columns} = ${counted(rows * columns, 'token')}`;
}

function say(words) {
  const output = inPanel('[data-token-output]');
  if (output.textContent !== words) output.textContent = words;
}

function sayToken() {
  const [row, column] = tokenCursor;
  const { grid, prefix, chosen } = tokenFacts;
  const number = row * grid[1] + column;
  if (row === chosen[0] && column === chosen[1]) {
    return say(tokenPixel ? sayReaders(tokenPixel) : 'Choose a point for its field, a pixel for its readers.');
  }
  const place = prefix ? `, place ${(number + prefix).toLocaleString('en')} behind the class token` : '';
  say(`token (${row}, ${column}), number ${number.toLocaleString('en')}${place}`);
}

// Mark the tokens that read a pixel, all of them or evenly some.
function markReaders(pixel) {
  tokenPixel = pixel;
  const stage = inPanel('.token-stage');
  const unit = Number(stage.dataset.unit);
  const mark = stage.querySelector('.token-pixel');
  const side = 5 * unit;
  const box = { y: pixel[0] + 0.5 - side / 2, x: pixel[1] + 0.5 - side / 2, width: side, height: side };
  for (const [name, value] of Object.entries(box)) mark.setAttribute(name, value);
  let words = sayReaders(pixel);
  let path = '';
  if (!tokenFacts.readers.includes(null)) {
    const [rows, columns] = pixel.map((at, axis) => readersOf(axis, at));
    const apart = Math.ceil(Math.sqrt(rows.length * columns.length / MOST_MARKS));
    const { first, stride } = tokenFacts;
    const radius = Math.min(5.5 * unit, 0.42 * stride);
    for (let i = 0; i < rows.length; i += apart) {
      for (let j = 0; j < columns.length; j += apart) {
        const [y, x] = [first[0] + rows[i] * stride, first[1] + columns[j] * stride - radius];
        path += `M${x} ${y}a${radius} ${radius} 0 1 0 ${2 * radius} 0a${radius} ${radius} 0 1 0 ${-2 * radius} 0`;
      }
    }
    if (apart > 1) words += `, marked ${apart} apart`;
  } else words += ': its readers are too many to send';
  stage.querySelector('.token-readers').setAttribute('d', path);
  say(words);
}

function moveCursor(place) {
  tokenCursor = place;
  const { first, stride } = tokenFacts;
  const cursor = inPanel('.token-cursor');
  cursor.setAttribute('cy', first[0] + place[0] * stride);
  cursor.setAttribute('cx', first[1] + place[1] * stride);
  followCell(place);
  sayToken();
}

function chooseToken(place, focus) {
  tokenFocus = focus;
  if (focus) inPanel(focus)?.focus({ preventScroll: true });
  selectToken(place.join(','));
}

// ---- the order of the tokens -----------------------------------------------------------------

// The place of a cell in each way, and the cells of a place; the server has tried these rules out.
const WAYS = {
  'rows first': {
    places: (cell) => [[cell, cell + 1]],
    cells: (place) => [[place, place + 1]],
  },
  'columns first': {
    places: (cell) => {
      const [rows, columns] = tokenFacts.grid;
      const place = (cell % columns) * rows + Math.floor(cell / columns);
      return [[place, place + 1]];
    },
    cells: (place) => {
      const [rows, columns] = tokenFacts.grid;
      const cell = (place % rows) * columns + Math.floor(place / rows);
      return [[cell, cell + 1]];
    },
  },
  'reshape alone': {
    places: (cell) => { // number `cell + map * cells` of memory lies in one token
      const count = tokenFacts.grid[0] * tokenFacts.grid[1];
      const found = new Set();
      for (let map = 0; map < tokenFacts.channels && found.size < count; map += 1) {
        found.add(Math.floor((map * count + cell) / tokenFacts.channels));
      }
      return [...found].sort((a, b) => a - b).map((place) => [place, place + 1]);
    },
    cells: (place) => {
      const count = tokenFacts.grid[0] * tokenFacts.grid[1];
      const begin = (place * tokenFacts.channels) % count;
      const end = begin + tokenFacts.channels;
      if (tokenFacts.channels >= count) return [[0, count]];
      return end <= count ? [[begin, end]] : [[0, end - count], [begin, count]];
    },
  },
};

const total = (spans) => spans.reduce((sum, [from, to]) => sum + to - from, 0);
const cellOf = (number) => `(${Math.floor(number / tokenFacts.grid[1])}, ${number % tokenFacts.grid[1]})`;

// Outlines of stretches of cells, counted row by row.
function cellPath(spans) {
  const columns = tokenFacts.grid[1];
  let path = '';
  for (const [from, to] of spans) {
    for (let at = from; at < to;) {
      const row = Math.floor(at / columns);
      const whole = at % columns === 0 ? Math.floor((to - at) / columns) : 0;
      const next = whole ? at + whole * columns : Math.min(to, (row + 1) * columns);
      const [left, right] = [at % columns, whole ? columns : (next - 1) % columns + 1];
      path += `M${left} ${row}H${right}V${row + Math.max(1, whole)}H${left}z`;
      at = next;
    }
  }
  return path;
}

// Marks on a line of places, wide enough to be seen.
function placePath(spans, line) {
  const count = tokenFacts.grid[0] * tokenFacts.grid[1];
  const least = 2.5 * count / Math.max(1, line.clientWidth);
  const top = spans.length > 1 ? 0.65 : 0; // so many would hide the colours
  let path = '';
  let reached = -1;
  for (const [from, to] of spans) {
    const grow = Math.max(0, (least - (to - from)) / 2);
    const [left, right] = [Math.max(0, from - grow), Math.min(count, to + grow)];
    if (right - reached < least / 3) continue; // drawn already
    path += `M${left} ${top}H${right}V1H${left}z`;
    reached = right;
  }
  return path;
}

function lines() {
  return [...slot('panel').querySelectorAll('.token-way')];
}

// Light up a cell on the map and where its numbers go in each sequence.
function followCell([row, column]) {
  const cell = row * tokenFacts.grid[1] + column;
  inPanel('.token-map path').setAttribute('d', cellPath([[cell, cell + 1]]));
  const said = [];
  for (const way of lines()) {
    const places = WAYS[way.dataset.way].places(cell);
    const line = way.querySelector('.token-line');
    line.querySelector('path').setAttribute('d', placePath(places, line));
    said.push(`${way.dataset.way}: ${places.length === 1
      ? `place ${places[0][0].toLocaleString('en')}` : counted(places.length, 'place')}`);
  }
  sayOrder(`cell (${row}, ${column})`, said);
}

// Light up a place of one sequence and the cells its numbers come from.
function followPlace(way, place) {
  const cells = WAYS[way.dataset.way].cells(place);
  for (const other of lines()) {
    const line = other.querySelector('.token-line');
    const marks = other === way ? placePath([[place, place + 1]], line) : '';
    line.querySelector('path').setAttribute('d', marks);
  }
  inPanel('.token-map path').setAttribute('d', cellPath(cells));
  const one = total(cells) === 1;
  sayOrder(`place ${place.toLocaleString('en')}`, [
    way.dataset.way,
    `${counted(tokenFacts.channels, 'number')} of ${one ? `cell ${cellOf(cells[0][0])}` : counted(total(cells), 'cell')}`,
  ]);
}

function sayOrder(title, words) {
  const output = inPanel('[data-order-output]');
  const head = document.createElement('b');
  head.textContent = title;
  output.replaceChildren(head, ...words.flatMap((line) => [document.createElement('br'), line]));
}

function gridCellUnder(map, event) {
  const box = map.getBoundingClientRect();
  return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width]
    .map((share, axis) => clamp(Math.floor(share * tokenFacts.grid[axis]), tokenFacts.grid[axis]));
}

function placeUnder(line, event) {
  const box = line.getBoundingClientRect();
  const count = tokenFacts.grid[0] * tokenFacts.grid[1];
  return clamp(Math.floor((event.clientX - box.left) / box.width * count), count);
}

// ---- how often a pixel is read ---------------------------------------------------------------

function readsOf(axis, pixel) {
  return pixelFacts.reads[axis].findLast(([start]) => start <= pixel)[1];
}

function sayPixel(pixel) {
  const output = inPanel('[data-pixel-output]');
  const cross = inPanel('.pixel-cross');
  if (!pixel) {
    output.textContent = 'Choose a pixel to see how many tokens read it.';
    return cross.setAttribute('d', '');
  }
  const [rows, columns] = pixel.map((at, axis) => readsOf(axis, at));
  const count = rows * columns;
  output.textContent = `pixel (${pixel.join(', ')}): ${rows} × ${columns} = `
    + `${count ? counted(count, 'token') : '0, never read'}`;
  const [height, width] = pixelFacts.size;
  const [y, x] = pixel.map((at) => at + 0.5);
  cross.setAttribute('d', `M0 ${y}H${width}M${x} 0V${height}`);
}

// ---- what a person does ----------------------------------------------------------------------

root.addEventListener('mousemove', (event) => {
  const on = (selector) => event.target.closest?.(selector);
  const stage = on('.token-stage');
  if (stage) {
    const point = pointOn(stage, event);
    const token = tokenAt(point, stage);
    const pixel = pixelAt(point, tokenFacts.size);
    stage.classList.toggle('on-token', Boolean(token));
    if (token) moveCursor(token);
    else if (pixel) say(sayReaders(pixel));
    else say('padding: zeros around the image');
  }
  if (on('[data-token-map]')) moveCursor(gridCellUnder(on('[data-token-map]'), event));
  if (on('.token-line')) followPlace(on('.token-way'), placeUnder(on('.token-line'), event));
  const reads = on('.pixel-stage');
  if (reads) sayPixel(pixelCursor = pixelAt(pointOn(reads, event), pixelFacts.size));
});

root.addEventListener('mouseout', (event) => {
  const left = event.target.closest?.('.token-stage, [data-token-map], .token-line');
  if (left && !left.contains(event.relatedTarget)) moveCursor([...tokenFacts.chosen]);
  const reads = event.target.closest?.('.pixel-stage');
  if (reads && !reads.contains(event.relatedTarget)) sayPixel(pixelCursor = null);
});

root.addEventListener('click', (event) => {
  const on = (selector) => event.target.closest(selector);
  if (on('[data-token-over]')) return showOver(on('[data-token-over]').dataset.tokenOver);
  if (on('[data-token-go]')) return chooseToken(on('[data-token-go]').dataset.tokenGo.split(','), null);
  if (on('[data-token-map]')) return chooseToken(gridCellUnder(on('[data-token-map]'), event), '[data-token-map]');
  if (on('[data-way="rows first"] .token-line')) {
    const place = placeUnder(on('.token-line'), event);
    return chooseToken([Math.floor(place / tokenFacts.grid[1]), place % tokenFacts.grid[1]], '[data-way="rows first"] .token-line');
  }
  const stage = on('.token-stage');
  if (!stage) return;
  const point = pointOn(stage, event);
  const token = tokenAt(point, stage);
  const pixel = pixelAt(point, tokenFacts.size);
  if (token) chooseToken(token, '.token-stage');
  else if (pixel) markReaders(pixel);
});

root.addEventListener('keydown', (event) => {
  const on = (selector) => event.target.closest?.(selector);
  const home = on('.token-stage, [data-token-map], .token-line, .pixel-stage');
  const arrow = ARROWS[event.key];
  if (!home || (!arrow && event.key !== 'Enter')) return;
  event.preventDefault();
  if (home.matches('.token-line')) return keyOnLine(home, arrow, event.shiftKey ? 10 : 1);
  if (home.matches('.pixel-stage')) {
    const from = pixelCursor ?? pixelFacts.size.map((side) => Math.floor(side / 2));
    const step = event.shiftKey ? 16 : 1;
    if (arrow) sayPixel(pixelCursor = from.map((at, i) => clamp(at + step * arrow[i], pixelFacts.size[i])));
    return;
  }
  if (!arrow) return chooseToken(tokenCursor, home.matches('.token-stage') ? '.token-stage' : '[data-token-map]');
  if (event.shiftKey && home.matches('.token-stage')) {
    const { first, stride, size, chosen } = tokenFacts;
    const from = tokenPixel ?? chosen.map((at, i) => clamp(Math.floor(first[i] + at * stride), size[i]));
    return markReaders(from.map((at, i) => clamp(at + arrow[i], size[i])));
  }
  moveCursor(tokenCursor.map((at, i) => clamp(at + arrow[i], tokenFacts.grid[i])));
});

function keyOnLine(line, arrow, step) {
  const way = line.closest('.token-way');
  const [rows, columns] = tokenFacts.grid;
  if (arrow) tokenPlace = clamp(tokenPlace + step * (arrow[0] + arrow[1]), rows * columns);
  else if (way.dataset.way === 'rows first') {
    return chooseToken([Math.floor(tokenPlace / columns), tokenPlace % columns], '[data-way="rows first"] .token-line');
  }
  followPlace(way, tokenPlace);
}

root.addEventListener('focusin', (event) => {
  const line = event.target.closest('.token-line');
  if (!line) return;
  tokenPlace = WAYS[line.closest('.token-way').dataset.way]
    .places(tokenFacts.chosen[0] * tokenFacts.grid[1] + tokenFacts.chosen[1])[0][0];
});
