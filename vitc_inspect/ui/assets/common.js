// What every page does: find its parts, ask the server, hold the picture a person opened, walk
// along the strip, the table and the tabs. Gradio runs this once, with `element`, `props` and
// `server` in scope. The page itself says what happens when its choice has `changed`, which `layer`
// and `view` are chosen, how to `select` others, and how to open the fold of a line.

const root = element.querySelector('.vi');
const slot = (name) => root.querySelector(`[data-slot="${name}"]`);
const field = (name) => root.querySelector(`[data-field="${name}"]`);
const PICTURE = 'vitc_inspect.picture'; // where the browser holds an opened picture
const onPanel = []; // called with the panel whenever it has been filled

// ---- asking the server -------------------------------------------------------------------

// What no answer means; the button asks again.
function noAnswer(sentence, field = 'server', again = 'Try again') {
  const button = again && ` <button type="button" data-retry>${again}</button>`;
  return { error: { field, html: `<p role="alert">${sentence}${button}</p>` } };
}

const SILENT = noAnswer('The server does not answer. Start it again, then', 'server', 'try again');
const FAILED = noAnswer(
  'The server could not answer this. The terminal it runs in has the traceback.', 'program',
);
const REFUSED = { // by the status of the response
  401: noAnswer('The server was started again with another token. Open the address that it printed.', 'server', ''),
  408: noAnswer('The request reached the server too slowly.'),
  413: noAnswer('The request is larger than the server takes. Use a smaller picture or a shorter text.'),
  503: noAnswer('The server is full of other requests.'),
};

let callStatus = 0; // of the newest call; Gradio's client does not pass it on
const noteStatus = (entries) => {
  for (const { name, responseStatus } of entries) {
    if (name.includes('/component_server')) callStatus = responseStatus;
  }
};
const calls = new PerformanceObserver((list) => noteStatus(list.getEntries()));
calls.observe({ type: 'resource' });

// Gradio answers the same, nothing, where the server is gone, refuses, or failed on this one.
async function whyNothing() {
  try {
    const { status } = await fetch(location.pathname, { method: 'HEAD', cache: 'no-store' });
    noteStatus(calls.takeRecords());
    return REFUSED[status] ?? REFUSED[callStatus] ?? (status < 500 ? FAILED : SILENT);
  } catch {
    return SILENT;
  }
}

async function ask(name, request) {
  let answer;
  try {
    answer = await server[name](request);
  } catch {
    return SILENT;
  }
  if (!answer) return whyNothing();
  if (!answer.missing_picture) return answer;
  const held = heldPicture();
  if (held?.key === request.image && !request.reopened) {
    const opened = await ask('open_picture', { data: held.data });
    return opened.error ? opened : ask(name, { ...request, reopened: true });
  }
  return {
    error: {
      field: 'image',
      suggestion: ['photo'],
      html: '<p role="alert">image: the picture of this link is in another browser, and a link does not '
        + 'carry it. Open the file here, or use the photograph. <button type="button" data-use>Use it</button></p>',
    },
  };
}

// ---- runs that take a while: how far they are, and ending them -------------------------------

const SLOW = 800; // ms after which an answer is said to be on its way, and can be cancelled
const underWay = new Set(); // { ticket, since } of the runs that are waited for, the oldest first

// Asks for a run; while it takes long, the page says why and for how long, and can cancel it.
async function askForRun(name, request) {
  const ticket = [...crypto.getRandomValues(new Uint32Array(4))].map((n) => n.toString(36)).join('');
  const own = { ticket, since: performance.now() };
  underWay.add(own);
  sayProgress(own);
  try {
    return await ask(name, { ...request, ticket });
  } finally {
    underWay.delete(own);
    if (!underWay.size) slot('progress').hidden = true;
  }
}

async function sayProgress(own) {
  const line = slot('progress');
  await new Promise((done) => { setTimeout(done, SLOW); });
  while (underWay.has(own)) {
    const { progress } = await ask('progress', { ticket: own.ticket });
    const [oldest] = underWay;
    if (oldest === own && progress) line.querySelector('span').textContent = progress;
    if (oldest === own) line.hidden = !progress;
    await new Promise((done) => { setTimeout(done, SLOW); });
  }
}

// A short run is over sooner than it is ended, and its worker would have to start anew.
function cancelRun() {
  for (const { ticket, since } of underWay) {
    if (performance.now() - since > SLOW) ask('cancel', { ticket });
  }
}

root.addEventListener('click', (event) => {
  if (event.target.closest('[data-cancel-run]')) cancelRun();
});

// Work that always ends on the newest request: one on its way, one waiting, none in between.
function latest(work) {
  let waiting = null;
  let busy = false;
  return {
    async offer(item) {
      waiting = item;
      if (busy) return;
      busy = true;
      try {
        while (waiting) {
          const next = waiting;
          waiting = null;
          await work(next);
        }
      } finally {
        busy = false;
      }
    },
  };
}

// ---- lists of choices ----------------------------------------------------------------------

function option(name, value) {
  return [...field(name).options].find((candidate) => candidate.value === value);
}

function addOption(name, value, title) {
  if (!option(name, value)) field(name).add(new Option(title, value));
}

// ---- the focus -----------------------------------------------------------------------------

// Where the focus goes when the panel is filled anew: to the same button, or from the wall to the
// map that was opened on it and back. Else who uses keys alone would start again at the page's top.
function focusInPanel() {
  const focused = document.activeElement;
  const step = focused?.matches?.('[data-map]') && focused.getAttribute('aria-label');
  if (step) return `[data-map][aria-label="${step}"]`;
  return focused?.closest?.('.plane, .wall, [data-map]') ? '.plane, .wall' : '';
}

// ---- pictures ------------------------------------------------------------------------------

// The content of a file as a data: address.
function addressOf(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

let opening = 0; // number of the file that was opened last; an answer for an older one is dropped

async function openFile(file) {
  if (!file) return;
  opening += 1;
  const number = opening;
  root.querySelector('[data-file]').value = '';
  if (file.size > props.max_file_bytes) {
    return refusePicture(`<p role="alert">image: ${Math.ceil(file.size / 2 ** 20)} MiB are more than `
      + `${props.max_file_bytes / 2 ** 20} MiB. Use a smaller file.</p>`);
  }
  let data;
  try {
    data = await addressOf(file);
  } catch {
    return refusePicture('<p role="alert">image: this file cannot be read. Use another one.</p>');
  }
  const answer = await ask('open_picture', { data });
  if (number !== opening) return;
  if (answer.error) return refusePicture(answer.error.html);
  holdPicture({ ...answer, name: file.name });
  addOption('image', answer.key, `Your picture: ${file.name}`);
  field('image').value = answer.key;
  showNotes();
  changed();
}

// The choice stays as it was, so what is on the screen still holds; only the file is refused.
function refusePicture(html) {
  slot('notes').innerHTML = html;
  slot('notes').classList.add('refused');
  slot('notes').querySelector('[data-use]')?.remove();
}

function showNotes() {
  const held = heldPicture();
  const image = field('image').value;
  slot('notes').classList.remove('refused');
  slot('notes').textContent = held?.key === image ? held.notes.join(' ') : props.own_notes[image] ?? '';
}

let inMemory = null; // the picture, where the browser's storage has no room for it

function holdPicture(picture) {
  inMemory = picture;
  try {
    sessionStorage.setItem(PICTURE, JSON.stringify(picture));
  } catch {
    // no room, or no leave to store: it lasts until the page is left
  }
}

function heldPicture() {
  try {
    inMemory ??= JSON.parse(sessionStorage.getItem(PICTURE));
  } catch {
    // as above
  }
  return inMemory?.key ? inMemory : null;
}

// ---- keys ----------------------------------------------------------------------------------

function linesOfTable() {
  return [...slot('table').querySelectorAll('tbody tr')].filter((line) => line.querySelector('button') && line.checkVisibility());
}

// Tab goes to one line of the table: to the chosen one, or to the first where it is folded away.
function oneTabStop() {
  const lines = linesOfTable();
  const stop = lines.find((line) => line.classList.contains('chosen')) ?? lines[0];
  for (const line of lines) line.querySelector('button').tabIndex = line === stop ? 0 : -1;
}

// Up and down go from line to line and choose; right and left open and close what is folded.
function walkTheTable(line, event) {
  const lines = linesOfTable();
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const end = { Home: 0, End: -1 }[event.key];
  if (step || end !== undefined) {
    event.preventDefault();
    const next = step ? lines[lines.indexOf(line) + step] : lines.at(end);
    if (!next) return;
    next.querySelector('button').focus();
    if (next.dataset.layer) select(next.dataset.layer);
  }
  if (line.matches('[data-fold-row]') && (event.key === 'ArrowRight' || event.key === 'ArrowLeft')) {
    event.preventDefault();
    toggleFold(line, event.key === 'ArrowRight');
  }
}

root.addEventListener('keydown', (event) => {
  const line = event.target.closest('.table tbody button')?.closest('tr');
  if (line) return walkTheTable(line, event);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const end = { Home: 0, End: -1 }[event.key];
  const block = event.target.closest('.strip [role=button]');
  if (block && (event.key === 'Enter' || event.key === ' ')) {
    event.preventDefault();
    select(block.dataset.layer);
  }
  if (block && step) {
    const blocks = [...root.querySelectorAll('.strip [role=button]')];
    blocks[blocks.indexOf(block) + step]?.focus();
  }
  if (!event.target.closest('.tabs [data-view]') || (!step && end === undefined)) return;
  event.preventDefault();
  const tabs = [...root.querySelectorAll('.tabs [data-view]')].filter((tab) => tab.checkVisibility());
  const at = tabs.findIndex((tab) => tab.dataset.view === view);
  const other = tabs.at(step ? (at + step) % tabs.length : end);
  select(layer, other.dataset.view);
  other.focus();
});
