// The table of layers: which rows and columns are shown, and in which order.

const SHOWN = ['pointwise', 'figures']; // what a button of the table shows or folds away
let sorting = { column: '', descending: true }; // the column's index; '' is the order of the layers

// The rows of the stem in order; what differs of a row stands under it and goes with it.
function linesToSort() {
  const lines = [];
  for (const row of slot('table').querySelector('tbody')?.rows ?? []) {
    if (row.matches('.apart')) lines.at(-1).push(row);
    else lines.push([row]);
  }
  return lines;
}

const valueOf = ([row], column) => Number(row.cells[column]?.dataset.value ?? -1);

function sortLayers() {
  const { column, descending } = sorting;
  for (const head of slot('table').querySelectorAll('th:has([data-sort])')) {
    const own = head.querySelector('[data-sort]').dataset.sort === column;
    head.setAttribute('aria-sort', own ? (descending ? 'descending' : 'ascending') : 'none');
  }
  if (column === '') return;
  const sign = descending ? -1 : 1;
  const lines = linesToSort().filter(([row]) => !row.matches('[data-fold-row]'));
  const last = linesToSort().filter(([row]) => row.matches('[data-fold-row]'));
  lines.sort((a, b) => sign * (valueOf(a, column) - valueOf(b, column)));
  slot('table').querySelector('tbody').append(...[...lines, ...last].flat());
  sayTies(lines, column);
}

// Layers that are equal in the figure, so that their order says nothing.
function sayTies(lines, column) {
  const groups = new Map();
  for (const line of lines) {
    const value = valueOf(line, column);
    if (value > 0) groups.set(value, [...(groups.get(value) ?? []), line]);
  }
  const ties = [...groups.values()].filter((group) => group.length > 1).map((group) => {
    const names = group.map(([row]) => row.dataset.layer);
    return `${names.slice(0, -1).join(', ')} and ${names.at(-1)} (${group[0][0].cells[column].textContent})`;
  });
  const output = slot('table').querySelector('[data-ties]');
  if (output) output.textContent = ties.length ? `Equal: ${ties.join('; ')}` : '';
}

function showColumns() {
  for (const name of SHOWN) {
    const open = root.classList.contains(`show-${name}`);
    slot('table').querySelector(`[data-show=${name}]`)?.setAttribute('aria-expanded', String(open));
  }
}

root.addEventListener('click', (event) => {
  const shows = event.target.closest('[data-show]');
  if (shows) {
    root.classList.toggle(`show-${shows.dataset.show}`);
    showColumns();
  }
  const sorts = event.target.closest('[data-sort]');
  if (!sorts) return;
  const column = sorts.dataset.sort;
  if (column !== sorting.column) sorting = { column, descending: true };
  else if (sorting.descending) sorting = { column, descending: false };
  else sorting = { column: '', descending: true };
  if (sorting.column) sortLayers();
  else changed({ history: 'replace' }); // the order of the layers comes with the next answer
});

new MutationObserver((changes) => {
  if (!changes.some((change) => [...change.addedNodes].some((node) => node.nodeName === 'TABLE'))) return;
  showColumns();
  sortLayers();
}).observe(slot('table'), { childList: true });
