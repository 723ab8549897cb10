// The page's behaviour: one choice, sent whole; answers that are not for the newest are dropped.

const CONTROLS = [...root.querySelectorAll('[data-field]')];
const namesOf = (controls) => controls.map((control) => control.dataset.field);
const TICKS = namesOf(CONTROLS.filter((control) => control.type === 'checkbox'));
const TEXTS = namesOf(CONTROLS).filter((name) => name !== 'preset' && !TICKS.includes(name));
const RESULTS = ['totals', 'status', 'strip', 'table', 'panel'];
const LAYER_VIEWS = ['maps', 'cell']; // those that show one layer; the others show the whole
const VIEWS = [...root.querySelectorAll('[data-view]')].map((tab) => tab.dataset.view);


let newest = 0; // number of the newest choice; an answer to an older one is dropped
let layer = ''; // name of the selected layer
let view = 'maps'; // what the panel shows
let cell = ''; // "channel" or "channel,row,column" of the selected layer; '' for none
let token = ''; // "row,column" of a token in the grid; '' for none
let panelHtml = ''; // what the panel was last filled with
let measuring = 0; // number of the measurement of time under way; 0 when there is none
let rowsNewer = false; // whether the editor was changed since the notation was written from it
let pushDue = false; // whether the address of the newest choice is to be a new entry of the history
let painted = null; // the request whose answer is on the screen
let found = { cell: [], token: [] }; // what of each was asked for, and what of it there is
let confirmed = false; // whether that answer is of a run
let unfolded = false; // whether the layers of the transformer blocks are shown
let fault = null; // the error on the screen
let editorHtml = null; // what the editor was last filled with, until a person changes it
let mapsHeight = 0; // pixels
let lateness = null; // timer of the fade
let typing = false; // whether the last history entry belongs to an edit that goes on
const said = {}; // by field, what a link wrote into a field of numbers that shows none of it

// ---- the choice: controls, address bar -------------------------------------------------

function readControls() {
  const choice = Object.fromEntries(TEXTS.map((name) => [name, field(name).value || said[name]]));
  for (const name of TICKS) choice[name] = field(name).checked ? '1' : '0';
  return { ...choice, preset: field('preset').value, layer, view, cell, token };
}

function writeControls(choice) {
  if (!option('image', choice.image)) addOption('image', choice.image, 'A picture from another page');
  for (const name of TEXTS) {
    field(name).value = choice[name];
    said[name] = field(name).value ? '' : choice[name];
  }
  for (const name of ['sorting', 'scale']) if (!field(name).value) field(name).value = props.start[name];
  for (const name of ['preset', 'device', 'dtype', 'attention', 'weights', 'norm_statistics']) {
    if (choice[name] && field(name).value !== choice[name]) { // a link may ask for what is not offered
      addOption(name, choice[name], choice[name]);
      field(name).value = choice[name];
    }
  }
  for (const name of TICKS) field(name).checked = choice[name] === '1';
  root.querySelector('[data-slider]').value = choice.height;
  ({ layer, cell, token } = choice);
  markView(VIEWS.includes(choice.view) ? choice.view : 'maps');
  showNotes();
}

// What a preset writes into the controls; undefined for a name that is none's.
function presetOf(name) {
  return Object.hasOwn(props.presets, name) ? props.presets[name] : undefined;
}

function readRows() {
  return [...root.querySelectorAll('[data-row]')].map((row) =>
    Object.fromEntries([...row.querySelectorAll('[data-part]')].map((c) => [c.dataset.part, c.value])));
}

const OURS = [...props.link.always, ...props.link.changed]; // the fields of a link, in order
const ENCODER = props.link.encoder; // the parts of its field "encoder"

function address() {
  const choice = readControls();
  const word = choice.height === choice.width && !/\d/.test(choice.height); // of a link, not a size
  const size = word ? choice.height : `${choice.height}x${choice.width}`;
  const values = { ...choice, size, channels: choice.in_channels, table: choice.position_table };
  if (cell === found.cell[0] && layer === found.layer) values.cell = found.cell[1]; // a link may ask for
  if (token === found.token[0]) values.token = found.token[1]; // a cell or a token that is not there
  values.encoder = choice.encoder === '1' ? ENCODER.map((name) => choice[name]).join(',') : 'off';
  const readable = (text) => encodeURIComponent(text)
    .replace(/%20/g, '+').replace(/%2F/g, '/').replace(/%3A/g, ':').replace(/%2C/g, ',');
  const said = OURS.filter((name) => (name === 'table' ? values.table === '0'
    : props.link.always.includes(name) || values[name] !== props.start[name]));
  const parts = said.map((name) => `${name}=${readable(values[name])}`);
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (![...OURS, 'preset'].includes(name)) parts.push(`${readable(name)}=${readable(value)}`);
  }
  return `${location.pathname}?${parts.join('&')}`;
}

function writeAddress() {
  const next = address();
  const method = pushDue ? 'pushState' : 'replaceState';
  pushDue = false;
  if (next !== location.pathname + location.search) history[method](null, '', next);
}

function readAddress() {
  const query = new URLSearchParams(location.search);
  const preset = query.get('preset'); // the address is written without it, since the stem says it all
  const choice = { ...props.start, ...(preset && presetOf(preset)), preset };
  for (const name of OURS) if (query.has(name)) choice[name] = query.get(name);
  if (query.has('size')) {
    const [height, ...width] = query.get('size').split(/(?<=\d)\s*[x×]\s*|\s*[x×]\s*(?=-?\d)/i);
    Object.assign(choice, { height, width: width.length ? width.join('x') : height });
  }
  if (query.has('channels')) choice.in_channels = query.get('channels');
  // a link that says the stem and nothing of a table is of a stem that has one
  if (query.has('table') || query.has('stem')) choice.position_table = query.get('table') ?? '1';
  if (query.has('encoder')) {
    const parts = query.get('encoder').split(',');
    choice.encoder = parts.length === ENCODER.length ? '1' : '0';
    if (choice.encoder === '1') ENCODER.forEach((name, i) => { choice[name] = parts[i]; });
  }
  return choice;
}

// ---- asking the server -------------------------------------------------------------------

// `by` says what a person changed: "text" also stands for a preset, a link, or a restored page.
function changed({ history = 'push', by = 'other', structure = false } = {}) {
  newest += 1;
  setState('stale');
  root.classList.toggle('with-encoder', field('encoder').checked);
  if (by !== 'other') rowsNewer = by === 'rows';
  pushDue ||= history === 'push';
  stopMeasuring();
  cancelRun();
  const request = { ...readControls(), structure, unfolded, ...room(), number: newest };
  if (rowsNewer) request.rows = readRows();
  if (!rowsNewer) writeAddress(); // rows become text first, on the server
  predictions.offer(request);
}

// What is on the screen is of an older choice while the state is "stale"; it goes if that lasts.
function setState(state) {
  root.dataset.state = state;
  clearTimeout(lateness);
  root.classList.remove('late');
  titleToggle();
  if (state === 'stale') lateness = setTimeout(() => root.classList.add('late'), 250);
}

// The panel's width (pixels), and its width over height for maps, so that all fit the screen.
function room() {
  const height = Math.max(300, window.innerHeight - 520);
  if (height !== mapsHeight) root.style.setProperty('--maps-height', `${height}px`);
  mapsHeight = height;
  const width = root.querySelector('.panel').clientWidth - 34;
  return { panel_width: width, strip_width: slot('strip').clientWidth - 16, aspect: width / height };
}

const predictions = latest(async (request) => {
  const answer = await ask('predict', request);
  if (request.number !== newest) return;
  if (request.rows && 'stem' in answer) {
    field('stem').value = answer.stem;
    rowsNewer = false;
    writeAddress();
  }
  if (answer.error) showFault(request, answer);
  else showPrediction(request, answer);
});

const runs = latest(async (request) => {
  if (request.number !== newest) return;
  const asked = { ...request, ...looking(), unfolded };
  const answer = await askForRun('run', asked);
  if (request.number !== newest) return;
  if (answer.error?.field === 'run') return showStopped(answer.error);
  if (answer.error) return showFault(request, answer);
  confirmed = true;
  showResults(answer);
  setState('confirmed');
  keepSelection(answer, asked);
});

// A layer or a view that was chosen while the answer was on its way stays the chosen one.
function keepSelection(answer, asked) {
  if (answer.layer === layer && ['view', 'cell', 'token'].every((key) => asked[key] === looking()[key])) return;
  mark(layer);
  panels.offer(looking());
}

// What the panel is to show.
function looking() {
  return { layer, view, cell, token, sorting: field('sorting').value, scale: field('scale').value };
}

const panels = latest(async (chosen) => {
  const asked = painted;
  const ran = confirmed;
  const wanted = { ...asked, ...chosen, part: 'panel' };
  const answer = ran ? await askForRun('run', wanted) : await ask('predict', wanted);
  const now = looking();
  // an answer from before the run must not replace what the run has painted meanwhile
  const current = asked.number === newest && ran === confirmed && Object.keys(now).every((key) => now[key] === chosen[key]);
  if (current) showPanel(answer.panel ?? answer.error.html);
});

// Asks for more runs until all are made, somebody stops it, or the panel shows something else.
async function measure() {
  const number = measuring = Math.random();
  const asked = painted;
  showPanel('<p class="remark">Warming up… <button type="button" data-cancel>Stop</button></p>');
  for (let done = false; !done;) {
    const answer = await ask('time', { ...asked, ticket: String(number) });
    if (number !== measuring) return;
    showPanel(answer.panel ?? answer.error.html);
    done = answer.done ?? true;
  }
  measuring = 0;
}

function stopMeasuring() {
  measuring = 0;
  root.querySelector('.progress')?.replaceChildren('Stopped. ', timeButton());
}

function timeButton() {
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', textContent: 'Time again' });
  button.dataset.time = '';
  return button;
}

// ---- showing answers ---------------------------------------------------------------------

function showPrediction(request, answer) {
  clearFault();
  const shown = { ...request, stem: answer.stem, rows: undefined };
  painted = shown;
  confirmed = false;
  found = { layer: answer.layer, cell: [request.cell, answer.cell], token: [request.token, answer.token] };
  if (request.layer === layer) layer = answer.layer; // else another one was clicked meanwhile
  if (!request.rows || request.structure) fillEditor(answer.editor);
  field('preset').value = answer.preset;
  slot('about').textContent = answer.about;
  slot('crop').textContent = answer.crop;
  showResults(answer);
  writeAddress(); // the layer may be another one now, and the cell or the token none
  setState('predicted');
  askAboutError();
  keepSelection(answer, request);
  root.classList.toggle('batch-norm', answer.batch_norm);
  slot('refusal').innerHTML = '';
  const button = root.querySelector('[data-run]');
  button.hidden = answer.auto_run || Boolean(answer.refusal);
  if (answer.auto_run) return afterPaint(() => runs.offer(shown));
  if (answer.refusal) {
    fault = answer.refusal;
    slot('refusal').innerHTML = answer.refusal.html;
  } else {
    button.textContent = `Run: ${answer.cost}`;
  }
}

function fillEditor(html) {
  if (html !== editorHtml) slot('editor').innerHTML = html;
  editorHtml = html;
}

// The prediction is painted before the run takes the processor.
function afterPaint(next) {
  if (document.hidden) return next();
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = next;
    port2.postMessage(null);
  });
}

function showResults(answer) {
  const focused = document.activeElement?.closest?.('[data-layer]');
  const home = focused?.closest('[data-slot]');
  const explained = slot('totals').querySelector('.how')?.open;
  for (const name of RESULTS.slice(0, -1)) slot(name).innerHTML = answer[name];
  oneTabStop();
  slot('totals').querySelector('.how').open = Boolean(explained);
  showPanel(answer.panel);
  if (home) focusLayer(home, focused.dataset.layer);
}

function showPanel(html) {
  if (html === panelHtml) return; // so that what is open in it stays open
  panelHtml = html;
  const held = focusInPanel();
  slot('panel').innerHTML = html;
  for (const fill of onPanel) fill(slot('panel'));
  if (held) slot('panel').querySelector(held)?.focus({ preventScroll: true });
  requestAnimationFrame(() => { // what needs the layout waits for the one the frame makes anyway
    const image = slot('panel').querySelector('.wall img'); // a value a pixel, unless it must shrink
    image?.classList.toggle('shrunk', Number(image.getAttribute('width')) > image.clientWidth);
    bringIntoView();
    root.style.setProperty('--strip', `${slot('strip').offsetHeight}px`); // what sticks stands below it
  });
}

function focusLayer(home, name) {
  const target = home.querySelector(`[data-layer="${name}"]`);
  (target?.querySelector('button') ?? target)?.focus({ preventScroll: true });
}

// The prediction still holds; only the run has no result.
function showStopped(error) {
  setState('stopped');
  slot('status').textContent = 'predicted, not run';
  slot('refusal').innerHTML = error.html;
  panelHtml = '';
  panels.offer(looking());
}

function showFault(request, answer) {
  clearFault();
  fault = answer.error;
  painted = null;
  for (const name of RESULTS) slot(name).innerHTML = '';
  panelHtml = '';
  slot('refusal').innerHTML = '';
  slot('about').textContent = slot('crop').textContent = '';
  if ('editor' in answer && (!request.rows || request.structure)) fillEditor(answer.editor);
  if (request.preset && !presetOf(request.preset)) option('preset', request.preset)?.remove();
  field('preset').value = '';
  const marked = controlsOf(fault.field);
  for (const control of marked) control.setAttribute('aria-invalid', 'true');
  const group = marked[0]?.closest('.group');
  slot('fault').hidden = false;
  if (group) {
    const note = document.createElement('div');
    note.className = 'field-fault';
    note.innerHTML = fault.html;
    group.append(note);
  }
  slot('fault').innerHTML = fault.html;
  slot('fault').classList.toggle('elsewhere', Boolean(group)); // its sentence stands at the field
  setState('fault');
}

function clearFault() {
  fault = null;
  slot('fault').hidden = true;
  slot('fault').innerHTML = '';
  for (const note of root.querySelectorAll('.field-fault')) note.remove();
  for (const control of root.querySelectorAll('[aria-invalid]')) control.removeAttribute('aria-invalid');
}

function controlsOf(name) {
  const [owner, part] = name.split('.');
  if (part) return [...root.querySelectorAll(`[data-row="${owner}"] [data-part="${part}"]`)];
  if (name === 'image_size') return [field('height'), field('width')];
  return [field(name.replace(/^image_/, ''))].filter(Boolean);
}

function useSuggestion() {
  const { field: name, suggestion } = fault;
  const controls = controlsOf(name);
  editorHtml = null;
  controls.forEach((control, i) => { control.value = suggestion[i] ?? suggestion[0]; });
  if (name === 'preset') return edited(field('preset'), 'push');
  changed({ by: { stem: 'text' }[name] ?? (name.includes('.') ? 'rows' : 'other') });
}

// ---- what a person does --------------------------------------------------------------------

function select(name, shown = LAYER_VIEWS.includes(view) ? view : 'maps') {
  if (!painted) return;
  if (name !== layer) cell = '';
  layer = name;
  mark(name);
  markView(shown);
  look();
}

// Choose a map ("7") or a cell ("7,0,12") of the selected layer, and the panel that shows it.
function selectCell(chosen, shown = view) {
  cell = chosen;
  markView(shown);
  look();
}

// Choose a token ("3,5": row and column of the grid).
function selectToken(chosen) {
  token = chosen;
  look();
}

// Ask for the panel of what is chosen now, and write it into the address.
function look() {
  if (!painted) return;
  stopMeasuring();
  if (!rowsNewer) { // else the address follows with the text
    pushDue = true;
    writeAddress();
  }
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

function mark(name) {
  for (const part of root.querySelectorAll('[data-layer]')) {
    const layers = (part.dataset.layers ?? part.dataset.layer).split(' ');
    part.classList.toggle('chosen', layers.includes(name));
    const pressed = part.matches('tr') ? part.querySelector('button') : part;
    pressed.setAttribute('aria-pressed', String(layers.includes(name)));
  }
  oneTabStop();
  bringIntoView();
}

// The strip scrolls in its own box until the chosen block is inside it.
function bringIntoView() {
  const box = slot('strip');
  const block = box.querySelector('.chosen');
  if (!block) return;
  const [inner, outer] = [block.getBoundingClientRect(), box.getBoundingClientRect()];
  if (inner.left < outer.left) box.scrollLeft -= outer.left - inner.left + 20;
  if (inner.right > outer.right) box.scrollLeft += inner.right - outer.right + 20;
}

function edited(target, history) {
  said[target.dataset.field] = '';
  if (target.matches('[data-find]')) return;
  if (target.matches('[data-look]')) return look();
  if (target.matches('[data-part]')) {
    editorHtml = null;
    return changed({ history, by: 'rows' });
  }
  if (target.matches('[data-slider]')) field('height').value = field('width').value = target.value;
  if (target === field('height')) root.querySelector('[data-slider]').value = target.value;
  if (target === field('preset')) {
    const preset = presetOf(target.value);
    if (!preset) return;
    writeControls({ ...readControls(), ...preset });
    field('preset').value = target.value;
    return changed({ history, by: 'text' });
  }
  changed({ history, by: target === field('stem') ? 'text' : 'other' });
}

root.addEventListener('input', (event) => {
  if (event.target.matches('[data-file], [data-error]')) return;
  edited(event.target, typing ? 'replace' : 'push');
  typing = true;
});

root.addEventListener('change', (event) => {
  typing = false;
  if (event.target.matches('[data-file]')) openFile(event.target.files[0]);
});

root.addEventListener('click', (event) => {
  const on = (selector) => event.target.closest(selector);
  if (on('[data-use]')) return useSuggestion();
  if (on('.tabs [data-view]')) return select(layer, on('.tabs [data-view]').dataset.view);
  if (on('[data-time]')) return void measure();
  if (on('[data-cancel]')) {
    const before = panelHtml;
    stopMeasuring();
    if (!before.includes('progress')) panels.offer(looking());
    return;
  }
  if (on('[data-add-encoder]')) {
    field('encoder').checked = true;
    return changed();
  }
  if (on('[data-retry]')) return changed({ history: 'replace' });
  if (on('[data-run]')) {
    root.querySelector('[data-run]').hidden = true;
    slot('panel').querySelector('[data-until-run]')?.remove();
    slot('refusal').innerHTML = '';
    slot('status').textContent = 'running…';
    return void runs.offer(painted);
  }
  if (on('[data-open]')) return root.querySelector('[data-file]').click();
  if (on('[data-toggle-choose]')) return choosing(!root.classList.contains('choosing'));
  if (on('[data-more]')) {
    const open = on('[data-row]').classList.toggle('open');
    return on('[data-more]').setAttribute('aria-expanded', String(open));
  }
  if (on('[data-add]')) return addRow();
  if (on('[data-remove]')) {
    on('[data-row]').remove();
    return restructured();
  }
  if (on('[data-fold-row]')) return toggleFold();
  if (on('[data-layer]')) {
    select(on('[data-layer]').dataset.layer);
    if (on('tr')) on('tr').querySelector('button').focus({ preventScroll: true }); // for the arrow keys
    if (on('tr') && window.innerWidth <= 900) slot('panel').scrollIntoView({ block: 'nearest' });
  }
});

// The layers of the transformer blocks, the table's one fold.
function toggleFold(line, open = root.querySelector('[data-inside]').hidden) {
  unfolded = open;
  root.querySelector('[data-inside]').hidden = !open;
  root.querySelector('[data-fold]').setAttribute('aria-expanded', String(open));
  oneTabStop();
}

const NEW_CONV = {
  kernel_size: '3', stride: '2', padding: '1', out_channels: '64', norm: 'batch', activation: 'relu',
  dilation: '1', groups: '1', bias: '0',
};

// A copy of the last convolution before proj; of a stem that is proj alone, a new one.
function addRow() {
  const rows = [...root.querySelectorAll('[data-row]')];
  if (!rows.length) return;
  const model = rows.at(-2) ?? rows[0];
  const row = model.cloneNode(true);
  for (const part of row.querySelectorAll('[data-part]')) {
    const name = part.dataset.part;
    part.value = rows.length > 1 ? model.querySelector(`[data-part="${name}"]`).value : NEW_CONV[name];
  }
  rows.at(-1).before(row);
  restructured();
}

function restructured() {
  const rows = [...root.querySelectorAll('[data-row]')];
  rows.forEach((row, i) => {
    row.dataset.row = i === rows.length - 1 ? 'proj' : `conv${i + 1}`;
    row.querySelector('.row-name').textContent = row.dataset.row;
  });
  editorHtml = null;
  changed({ by: 'rows', structure: true });
}

root.addEventListener('toggle', async (event) => { // which does not bubble, hence the capture
  const home = event.target.matches('[data-witnesses]') && slot('witnesses');
  if (!home || !event.target.open || home.innerHTML) return;
  const asked = painted;
  home.textContent = 'counting…';
  const answer = await ask('witnesses', asked);
  if (asked.number === newest) home.innerHTML = answer.witnesses ?? answer.error.html;
}, true);

root.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') choosing(false);
});

// On a small screen the choices stand where the results do.
function choosing(open) {
  if (!open && root.classList.contains('choosing')) window.scrollTo(0, 0);
  root.classList.toggle('choosing', open);
  root.querySelector('[data-toggle-choose]').setAttribute('aria-expanded', String(open));
  titleToggle();
}

// What the choices come to is said on the button that leads to it.
function titleToggle() {
  const tokens = slot('totals').querySelector('[data-seq-len]')?.dataset.seqLen;
  const shown = tokens ? `Show ${Number(tokens).toLocaleString('en')} tokens` : 'Show what is wrong';
  root.querySelector('[data-toggle-choose]').textContent = root.classList.contains('choosing') ? shown : 'Edit the stem';
}
