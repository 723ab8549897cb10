// A module's page: what is to be seen of it is sent whole; which module it is, never.

const PARTS = ['summary', 'status', 'strip', 'table'];
const VIEWS = [...root.querySelectorAll('[data-view]')].map((tab) => tab.dataset.view);
const ASKED = Object.keys(props.start); // the fields of a link

let newest = 0; // number of the newest request for the whole page
let reading = 0; // how often the server had read the file when the screen was painted
let layer = ''; // key of the selected row
let wanted = ''; // key of the row a person chose, also while the module has no such row
let view = 'maps'; // what the panel shows
let cell = ''; // number of the map that is seen large; '' for all
let token = ''; // "row,column" of a place, or the number of a token; '' for the middle
let opened = new Set(); // titles of the folds that are open
let painted = null; // the request whose answer is on the screen
let panelHtml = ''; // what the panel was last filled with
let mapsHeight = 0; // pixels

// ---- the choice ------------------------------------------------------------------------------

function sizeInputs() {
  return [...root.querySelectorAll('[data-size]')];
}

function looking() {
  return { layer, view, cell, token, sorting: field('sorting').value, scale: field('scale').value };
}

function readControls() {
  return {
    image: field('image').value, sizes: sizeInputs().map((input) => input.value), ...looking(), layer: wanted, ...room(),
  };
}

// The panel's width (pixels), and its width over height for maps.
function room() {
  const height = Math.max(300, window.innerHeight - 596);
  if (height !== mapsHeight) root.style.setProperty('--maps-height', `${height}px`);
  mapsHeight = height;
  const width = root.querySelector('.panel').clientWidth - 32;
  return { panel_width: width, aspect: width / height };
}

// The address holds what is to be seen; what is as at the start stays unsaid.
function writeAddress(method = 'replaceState') {
  const choice = readControls();
  const query = new URLSearchParams();
  for (const name of ASKED) {
    const values = [choice[name]].flat();
    if (String(values) !== String(props.start[name])) for (const value of values) query.append(name, value);
  }
  const next = `${location.pathname}${query.size ? `?${query}` : ''}`;
  if (next !== location.pathname + location.search) history[method](null, '', next);
}

function readAddress() {
  const query = new URLSearchParams(location.search);
  const asked = { ...props.start };
  for (const name of ASKED) if (query.has(name)) asked[name] = name === 'sizes' ? query.getAll(name) : query.get(name);
  ({ layer: wanted, cell, token } = asked);
  layer = wanted;
  if (!option('image', asked.image)) addOption('image', asked.image, 'A picture from another page');
  for (const name of ['image', 'sorting', 'scale']) {
    field(name).value = asked[name];
    if (!field(name).value) field(name).value = props.start[name];
  }
  sizeInputs().forEach((input, i) => { input.value = asked.sizes[i] ?? props.start.sizes[i]; });
  markView(VIEWS.includes(asked.view) ? asked.view : 'maps');
  showNotes();
}

// ---- asking the server -------------------------------------------------------------------------

function changed({ by = 'show' } = {}) {
  newest += 1;
  cancelRun();
  root.dataset.state = by === 'reload' ? 'reading' : 'stale';
  busy(by === 'reload');
  whole.offer({ by, number: newest });
}

function busy(is) {
  const button = root.querySelector('[data-reload]');
  button.disabled = is;
  button.textContent = is ? 'Reading…' : 'Reload';
}

const whole = latest(async ({ by, number }) => {
  const request = { ...readControls(), reading };
  const answer = await askForRun(by, request);
  if (number !== newest) return;
  busy(false);
  if (answer.error) return showFault(answer.error);
  showWhole(request, answer);
});

const panels = latest(async (chosen) => {
  const answer = await askForRun('show', { ...painted, ...chosen, ...room(), reading, part: 'panel' });
  if (answer.broken || (!answer.error && answer.reading !== reading)) return changed(); // another visitor has reloaded
  const now = looking();
  if (painted && Object.keys(now).every((key) => now[key] === chosen[key])) showPanel(answer.panel ?? answer.error.html);
});

// ---- showing answers ---------------------------------------------------------------------------

function showWhole(request, answer) {
  clearFault();
  reading = answer.reading;
  slot('read_at').textContent = answer.read_at;
  slot('changed').hidden = true;
  slot('alerts').innerHTML = answer.broken ?? answer.alerts;
  if (answer.broken) { // nothing of what stood here is true any more
    painted = null;
    for (const name of [...PARTS, 'panel']) slot(name).innerHTML = '';
    panelHtml = '';
    root.dataset.state = 'broken';
    return;
  }
  painted = request;
  const focused = document.activeElement?.closest?.('[data-layer]');
  const home = focused?.closest('[data-slot]');
  for (const name of PARTS) slot(name).innerHTML = answer[name];
  if (request.layer === wanted) layer = answer.layer; // else another one was clicked meanwhile
  root.classList.toggle('unseen', !answer.image);
  root.querySelector('[data-view=pixels]').hidden = !answer.stem;
  showFolds();
  root.dataset.state = 'confirmed';
  showPanel(answer.panel);
  mark();
  writeAddress();
  if (home) focusRow(home, focused.dataset.layer);
  const now = { ...looking(), layer: wanted };
  if (Object.keys(now).some((key) => now[key] !== request[key])) panels.offer(looking());
}

function showPanel(html) {
  if (html === panelHtml) return;
  panelHtml = html;
  const held = focusInPanel();
  slot('panel').innerHTML = html;
  for (const fill of onPanel) fill(slot('panel'));
  if (held) slot('panel').querySelector(held)?.focus({ preventScroll: true });
  requestAnimationFrame(() => {
    const image = slot('panel').querySelector('.wall img'); // a value a pixel, unless it must shrink
    image?.classList.toggle('shrunk', Number(image.getAttribute('width')) > image.clientWidth);
    const [top, strip] = [root.querySelector('.top').offsetHeight, slot('strip').offsetHeight];
    root.style.setProperty('--top', `${top}px`); // what sticks stands below what sticks above it
    root.style.setProperty('--strip', `${top + strip}px`);
  });
}

// What is on the screen holds for the choice before, and stands back; the choice is refused.
function showFault(error) {
  clearFault();
  const at = error.field === 'input' ? sizeInputs() : [field(error.field)].filter(Boolean);
  for (const control of at) control.setAttribute('aria-invalid', 'true');
  slot('fault').hidden = false;
  slot('fault').innerHTML = error.html;
  slot('fault').dataset.suggestion = error.suggestion?.[0] ?? '';
  slot('fault').dataset.of = error.field;
  root.dataset.state = 'refused';
}

function clearFault() {
  slot('fault').hidden = true;
  slot('fault').innerHTML = '';
  for (const control of root.querySelectorAll('[aria-invalid]')) control.removeAttribute('aria-invalid');
}

function useSuggestion() {
  const { of, suggestion } = slot('fault').dataset;
  for (const control of of === 'input' ? sizeInputs().slice(0, 1) : [field(of)]) control.value = suggestion;
  changed();
}

// ---- rows and folds ----------------------------------------------------------------------------

function showFolds() {
  const open = new Set();
  for (const line of slot('table').querySelectorAll('tr')) {
    const inside = line.dataset.within?.split(' ') ?? [];
    line.hidden = !inside.every((name) => open.has(name));
    if (!line.dataset.foldRow) continue;
    const isOpen = opened.has(line.dataset.title);
    if (isOpen) open.add(line.dataset.foldRow);
    line.querySelector('[data-fold]').setAttribute('aria-expanded', String(isOpen));
  }
  oneTabStop();
}

function toggleFold(line, open = !opened.has(line.dataset.title)) {
  if (open) opened.add(line.dataset.title);
  else opened.delete(line.dataset.title);
  showFolds();
}

// Open every fold around the selected row, so that it can be seen.
function reveal(line) {
  for (const name of line?.dataset.within?.split(' ') ?? []) {
    opened.add(slot('table').querySelector(`[data-fold-row="${name}"]`).dataset.title);
  }
  showFolds();
}

function select(key, shown = view) {
  if (!painted) return;
  if (key !== layer) [cell, token] = ['', ''];
  layer = wanted = key;
  markView(shown);
  mark();
  look();
}

// A map ("7"), or a place of the output ("7,3,5", or ",3,5" from the picture of places).
function selectCell(chosen, shown = view) {
  if (shown === 'reach') token = chosen.split(',').slice(1).join(',');
  else cell = chosen;
  markView(shown);
  look();
}

function selectToken(place) {
  token = place;
  look();
}

function look() {
  if (!painted) return;
  writeAddress('pushState');
  panels.offer(looking());
}

function markView(name) {
  view = name;
  root.dataset.panel = name; // for the style sheet
  for (const tab of root.querySelectorAll('[data-view]')) {
    tab.setAttribute('aria-selected', String(tab.dataset.view === view));
    tab.tabIndex = tab.dataset.view === view ? 0 : -1;
  }
}

function mark() {
  const line = rowOf(layer);
  reveal(line);
  for (const part of root.querySelectorAll('[data-layer]')) {
    const chosen = (part.dataset.layers ?? part.dataset.layer).split(' ').includes(layer);
    part.classList.toggle('chosen', chosen);
    const pressed = part.matches('tr') ? part.querySelector('button') : part;
    pressed.setAttribute('aria-pressed', String(chosen));
  }
  oneTabStop();
  const box = slot('strip');
  const block = box.querySelector('.chosen');
  if (!block) return;
  const [inner, outer] = [block.getBoundingClientRect(), box.getBoundingClientRect()];
  if (inner.left < outer.left) box.scrollLeft -= outer.left - inner.left + 20;
  if (inner.right > outer.right) box.scrollLeft += inner.right - outer.right + 20;
}

function rowOf(key) {
  return [...slot('table').querySelectorAll('tr[data-layer]')].find((line) => line.dataset.layer === key);
}

function focusRow(home, key) {
  const target = [...home.querySelectorAll('[data-layer]')].find((part) => part.dataset.layer === key);
  (target?.querySelector('button') ?? target)?.focus({ preventScroll: true });
}

// ---- what a person does ------------------------------------------------------------------------

function reload() {
  changed({ by: 'reload' });
}

root.addEventListener('change', (event) => {
  if (event.target.matches('[data-file]')) return void openFile(event.target.files[0]);
  if (event.target.matches('[data-look]')) return look();
  if (event.target.matches('[data-place]')) return selectToken(event.target.value);
  if (event.target.matches('[data-field=image], [data-size]')) {
    showNotes();
    changed();
  }
});

root.addEventListener('click', (event) => {
  const on = (selector) => event.target.closest(selector);
  if (on('[data-use]')) return useSuggestion();
  if (on('[data-retry]')) return changed();
  if (on('[data-reload]')) return reload();
  if (on('[data-open]')) return root.querySelector('[data-file]').click();
  if (on('.tabs [data-view]')) return select(layer, on('.tabs [data-view]').dataset.view);
  if (on('button[data-place]')) return selectToken(on('button[data-place]').dataset.place);
  if (on('[data-fold-row]')) return toggleFold(on('[data-fold-row]'));
  if (on('[data-layer]')) {
    select(on('[data-layer]').dataset.layer);
    if (on('tr')) on('tr').querySelector('button').focus({ preventScroll: true }); // for the arrow keys
    if (on('tr') && window.innerWidth <= 900) slot('panel').scrollIntoView({ block: 'nearest' });
  }
});
