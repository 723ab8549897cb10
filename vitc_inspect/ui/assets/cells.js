// The cell panel: the window a cell read, and the window sliding over the input.

const SUMS_AT_ONCE = 120; // sums of input channels that are listed before "more" is asked for

let slide = null; // the convolution on the screen, as data-cell-slide says it, and where its window is
let slideTimer = 0; // of the next step; 0 while nothing plays
let slideSpeed = 8; // cells a second
let sumsOrder = 'size'; // of the input channels: "size" or "index"
let sumsScroll = null; // where their list was scrolled to when one of them was chosen
let refocus = ''; // what in the panel gets the focus back when the panel has been filled

onPanel.push((panel) => {
  stopSlide();
  const home = view === 'cell' ? panel.querySelector('[data-cell-slide]') : null;
  slide = home ? { home, ...JSON.parse(home.dataset.cellSlide), hover: null } : null;
  if (!slide) return;
  slide.at = slide.chosen;
  slide.span = (slide.taps - 1) * slide.dilation + 1;
  for (const lens of home.querySelectorAll('.cell-lens')) { // a <use> would lose the style sheet
    const plane = home.querySelector(focusOf(lens));
    lens.prepend(plane.querySelector('[data-cell-still]').cloneNode(true));
  }
  markSpeed();
  drawSlide();
  listSums(panel);
  if (refocus) panel.querySelector(refocus)?.focus({ preventScroll: true });
  refocus = '';
});

// ---- the window ----------------------------------------------------------------------------

// First row and column of the input that a cell reads, below 0 in the padding.
function slideWindow([row, column]) {
  return [row, column].map((place) => place * slide.stride - slide.padding);
}

function drawSlide() {
  const { home, chosen, span } = slide;
  const here = slide.hover ?? slide.at;
  const [top, left] = slideWindow(here);
  const moved = here.some((place, axis) => place !== chosen[axis]);
  for (const mark of home.querySelectorAll('[data-cell-at]')) {
    const [y, x] = mark.dataset.cellAt === 'in' ? [top, left] : here;
    mark.style.transform = `translate(${x}px, ${y}px)`;
  }
  for (const lens of home.querySelectorAll('.cell-lens')) {
    const input = lens.dataset.cellPlane === 'in';
    panLens(lens, input ? [top, left] : here, input ? span : 1);
  }
  const tell = (name, words) => { home.querySelector(`[data-cell-${name}]`).textContent = words; };
  tell('here', `row ${here[0]}, column ${here[1]} reads`);
  tell('padded', paddedTaps(top, left));
  const s = slide.taps === 1 ? '' : 's';
  tell('read', `row${s} ${tapPositions(top)}, column${s} ${tapPositions(left)}`);
  home.querySelector('[data-cell-take]').hidden = !moved;
  home.classList.toggle('cell-moved', moved);
}

// Moves a lens no further than it must to hold the window with a little around it.
function panLens(lens, place, span) {
  const [rows, columns] = [Number(lens.dataset.rows), Number(lens.dataset.columns)];
  const [left, top, width, height] = lens.dataset.box.split(',').map(Number);
  if (slide.hoveredLens === lens && lens.hasAttribute('viewBox')) return; // it stays under the pointer
  const before = lens.getAttribute('viewBox')?.split(' ').map(Number);
  const along = (at, shown, start, size, old) => {
    if (shown >= size) return start - (shown - size) / 2;
    const margin = Math.min(span === 1 ? 1 : slide.stride, (shown - span) / 2);
    const centred = at + span / 2 - shown / 2;
    const kept = old === undefined ? centred : Math.min(at - margin, Math.max(at + span + margin - shown, old));
    return Math.min(start + size - shown + 0.5, Math.max(start - 0.5, kept));
  };
  const y = along(place[0], rows, top, height, before?.[1]);
  const x = along(place[1], columns, left, width, before?.[0]);
  lens.setAttribute('viewBox', `${x} ${y} ${columns} ${rows}`);
}

// The positions that the taps read along an axis, from the first.
function tapPositions(start) {
  const { taps, dilation } = slide;
  const last = withMinus(start + (taps - 1) * dilation);
  if (taps === 1) return last;
  if (dilation === 1) return `${withMinus(start)}…${last}`;
  if (taps > 4) return `${withMinus(start)}, ${withMinus(start + dilation)} … ${last}`;
  return Array.from({ length: taps }, (_, tap) => withMinus(start + tap * dilation)).join(', ');
}

function paddedTaps(...starts) {
  const { taps, dilation, size } = slide;
  const inside = starts.map((start, axis) => { // from the first tap that is on the map to the last
    const first = Math.max(0, Math.ceil(-start / dilation));
    const last = Math.min(taps - 1, Math.floor((size[axis] - 1 - start) / dilation));
    return Math.max(0, last - first + 1);
  });
  const padded = taps * taps - inside[0] * inside[1];
  return padded ? `${padded} of ${taps * taps} taps padded` : '';
}

function moveSlide(rows, columns) {
  const [row, column] = slide.at;
  slide.at = [row + rows, column + columns].map((place, axis) =>
    Math.min(slide.cells[axis] - 1, Math.max(0, place)));
  slide.hover = null;
  drawSlide();
}

// One cell on in reading order, and from the last to the first.
function stepSlide(by) {
  const [rows, columns] = slide.cells;
  const count = rows * columns;
  const next = (slide.at[0] * columns + slide.at[1] + by + count) % count;
  slide.at = [Math.floor(next / columns), next % columns];
  drawSlide();
}

function chooseCell([row, column], focus) {
  refocus = focus;
  const given = slide.given === null ? '' : `,${slide.given}`;
  selectCell(`${slide.channel},${row},${column}${given}`);
}

// ---- playing -------------------------------------------------------------------------------

function playSlide() {
  if (slideTimer) return stopSlide();
  const home = slide.home;
  const tick = () => {
    if (!home.isConnected || slide?.home !== home) return stopSlide();
    if (!slide.hover) stepSlide(1);
    slideTimer = setTimeout(tick, 1000 / slideSpeed);
  };
  slideTimer = setTimeout(tick, 0);
  markPlaying();
}

function stopSlide() {
  clearTimeout(slideTimer);
  slideTimer = 0;
  if (slide) markPlaying();
}

function markPlaying() {
  const button = slide.home.querySelector('[data-cell-do=play]');
  const title = slideTimer ? 'pause' : 'play';
  button.querySelector('path').setAttribute('d', slideTimer ? 'M3 2h3v10H3zM8 2h3v10H8z' : 'M4 2l8 5-8 5z');
  button.setAttribute('aria-label', title);
  button.title = title;
  slide.home.classList.toggle('cell-gliding', slideTimer !== 0 && slideSpeed < 20);
}

function markSpeed() {
  for (const button of slide.home.querySelectorAll('[data-cell-speed]')) {
    button.setAttribute('aria-pressed', String(Number(button.dataset.cellSpeed) === slideSpeed));
  }
  slide.home.classList.toggle('cell-gliding', slideTimer !== 0 && slideSpeed < 20);
}

// ---- the pointer and the keys ----------------------------------------------------------------

// The cell under the pointer; on the input the one whose window is around the pointer.
function cellUnder(plane, event) {
  const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(plane.getScreenCTM().inverse());
  const { stride, padding, span, cells } = slide;
  return [place.y, place.x].map((at, axis) => {
    const cell = plane.dataset.cellPlane === 'in'
      ? Math.round((at + padding - span / 2) / stride) : Math.floor(at);
    return Math.min(cells[axis] - 1, Math.max(0, cell));
  });
}

root.addEventListener('pointermove', (event) => {
  if (!slide) return;
  const plane = event.pointerType === 'touch' ? null : event.target.closest('[data-cell-plane]');
  if (plane) {
    slide.hover = cellUnder(plane, event);
    slide.hoveredLens = plane;
    if (slideTimer) slide.at = slide.hover; // from where it plays on
    drawSlide();
  } else if (slide.hover) {
    slide.hover = null;
    slide.hoveredLens = null;
    drawSlide();
  }
  const block = event.target.closest('[data-cell-block]');
  if (block) tellTap(block, tapUnder(block, event));
});

root.addEventListener('pointerleave', () => {
  if (!slide?.hover) return;
  slide.hover = null;
  drawSlide();
});

root.addEventListener('click', (event) => {
  if (!slide) return;
  const on = (selector) => event.target.closest(selector);
  const plane = on('[data-cell-plane]');
  const focus = document.activeElement?.matches('.cell-plane') ? focusOf(document.activeElement) : '';
  if (plane) return chooseCell(cellUnder(plane, event), focus);
  if (on('[data-cell-take]')) return chooseCell(slide.at, focusOf(slide.home.querySelector('.cell-plane')));
  if (on('[data-cell-speed]')) {
    slideSpeed = Number(on('[data-cell-speed]').dataset.cellSpeed);
    return markSpeed();
  }
  const action = on('[data-cell-do]')?.dataset.cellDo;
  if (action === 'play') return playSlide();
  if (action) {
    stopSlide();
    return stepSlide(action === 'back' ? -1 : 1);
  }
  if (on('[data-cell-order]')) {
    sumsOrder = on('[data-cell-order]').dataset.cellOrder;
    return listSums(slot('panel'));
  }
  if (on('[data-cell-more]')) return listSums(slot('panel'), Infinity);
  const input = on('[data-cell-given]')?.dataset.cellGiven;
  if (input) {
    sumsScroll = slot('panel').querySelector('[data-cell-sums]').scrollTop;
    refocus = `[data-cell-given="${input}"]`;
    selectCell(`${slide.channel},${slide.chosen},${input}`);
  }
  const block = on('[data-cell-block]');
  if (block) tellTap(block, tapUnder(block, event));
});

function focusOf(plane) {
  return `.cell-plane[data-cell-plane=${plane.dataset.cellPlane}]`;
}

root.addEventListener('keydown', (event) => {
  if (!slide || event.ctrlKey || event.metaKey || event.altKey) return;
  const plane = event.target.closest('[data-cell-plane]');
  const block = event.target.closest('[data-cell-block]');
  const arrow = KEY_STEPS[event.key];
  if (plane && arrow) {
    stopSlide();
    moveSlide(...arrow);
  } else if (plane && event.key === 'Enter') {
    chooseCell(slide.at, focusOf(plane));
  } else if (plane && event.key === ' ') {
    playSlide();
  } else if (block && arrow) {
    const last = slide.taps - 1;
    const [row, column] = (block.dataset.tap ?? '0,-1').split(',').map(Number);
    tellTap(block, [row + arrow[0], column + arrow[1]].map((tap) => Math.min(last, Math.max(0, tap))));
  } else {
    return;
  }
  event.preventDefault(); // the page would scroll
});

// ---- one tap -------------------------------------------------------------------------------

function tapUnder(block, event) {
  const square = event.target.closest('td');
  if (square) return [square.parentElement.rowIndex, square.cellIndex];
  const tile = event.target.closest('.cell-tile');
  if (!tile) return null;
  const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(tile.getScreenCTM().inverse());
  return [place.y, place.x].map((at) => Math.min(slide.taps - 1, Math.max(0, Math.floor(at))));
}

// Marks a tap in all three grids and writes its numbers out.
function tellTap(block, tap) {
  if (!tap || !block.dataset.window) return;
  for (const marked of slot('panel').querySelectorAll('.cell-pointed')) marked.classList.remove('cell-pointed');
  for (const grid of block.querySelectorAll('.cell-table, .cell-tile')) {
    const square = grid.matches('table') ? grid.rows[tap[0]].cells[tap[1]] : grid.querySelector('.cell-tap');
    square.classList.add('cell-pointed');
    if (square.matches('rect')) square.style.transform = `translate(${tap[1]}px, ${tap[0]}px)`;
  }
  block.dataset.tap = tap;
  const index = tap[0] * slide.taps + tap[1];
  const [read, weight] = [block.dataset.window, block.dataset.kernel].map((text) => floatsOf(text)[index]);
  const place = block.dataset.at.split(',').map((start, axis) => Number(start) + tap[axis] * slide.dilation);
  const padding = place.some((at, axis) => at < 0 || at >= slide.size[axis]);
  const words = padding ? 'in the padding' : `row ${place[0]}, column ${place[1]}`;
  const product = padding ? 0 : read * weight;
  slot('panel').querySelector('[data-cell-said]').textContent
    = `${words}: ${numeralOf(read)} × ${numeralOf(weight)} = ${numeralOf(product)}`;
}

function floatsOf(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const numbers = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => numbers.getFloat32(4 * i, true));
}

// ---- the sums of many input channels -----------------------------------------------------------

function listSums(panel, most = SUMS_AT_ONCE) {
  const box = panel.querySelector('[data-cell-sums]');
  if (!box) return;
  const [first, shown] = [Number(box.dataset.first), Number(box.dataset.shown)];
  const sums = floatsOf(box.dataset.cellSums);
  const size = (value) => (Number.isNaN(value) ? Infinity : Math.abs(value));
  const order = [...sums.keys()];
  if (sumsOrder === 'size') order.sort((a, b) => size(sums[b]) - size(sums[a]) || a - b);
  const longest = Math.max(...[...sums].map(size).filter(Number.isFinite), 0) || 1;
  const places = Math.min(9, Math.max(0, 3 - Math.floor(Math.log10(longest))));
  if (order.indexOf(shown - first) >= most) most = Infinity;
  const rows = order.slice(0, most).map((index) => {
    const value = sums[index];
    const length = 50 * Math.min(1, size(value) / longest);
    const bar = `left:${value < 0 ? 50 - length : 50}%;width:${length.toFixed(1)}%`;
    const sign = value < 0 ? 'minus' : 'plus';
    const said = Number.isFinite(value) ? withMinus(value.toFixed(places)) : numeralOf(value);
    return `<button type="button" data-cell-given="${first + index}" aria-pressed="${first + index === shown}">`
      + `<span class="channels">${first + index}</span><span class="cell-bar"><i class="cell-${sign}" style="${bar}"></i></span>`
      + `<span>${said}</span></button>`;
  });
  const left = order.length - rows.length;
  if (left) rows.push(`<button type="button" class="cell-more" data-cell-more>${left} more</button>`);
  box.innerHTML = rows.join('');
  for (const button of panel.querySelectorAll('[data-cell-order]')) {
    button.setAttribute('aria-pressed', String(button.dataset.cellOrder === sumsOrder));
  }
  if (sumsScroll !== null) box.scrollTop = sumsScroll;
  sumsScroll = null;
}
