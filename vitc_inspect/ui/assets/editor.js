// The editor's rows: more and less of a number, moving a row, and inserting one.

// Puts a row elsewhere and keeps the keyboard on the button that did it.
function moveRow(row, step) {
  const other = step < 0 ? row.previousElementSibling : row.nextElementSibling;
  if (!other) return;
  if (step < 0) other.before(row);
  else other.after(row);
  restructured();
}

function stepNumber(button) {
  const input = button.parentElement.querySelector('input');
  if (Number(button.dataset.step) < 0) input.stepDown();
  else input.stepUp();
  input.dispatchEvent(new Event('input', { bubbles: true }));
  input.dispatchEvent(new Event('change', { bubbles: true }));
}

root.addEventListener('click', (event) => {
  const on = (selector) => event.target.closest(selector);
  if (on('[data-step]')) return stepNumber(on('[data-step]'));
  if (on('[data-move]')) return moveRow(on('[data-row]'), Number(on('[data-move]').dataset.move));
  if (!on('[data-insert]')) return;
  const copy = on('[data-row]').cloneNode(true);
  on('[data-row]').before(copy);
  restructured();
});

// Alt and an arrow key move the row that the keyboard is in.
slot('editor').addEventListener('keydown', (event) => {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!event.altKey || !step) return;
  event.preventDefault();
  moveRow(event.target.closest('[data-row]'), step);
});
