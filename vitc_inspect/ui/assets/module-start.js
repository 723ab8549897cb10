// The start of a module's page: fill the lists, show what the address asks for, watch the file.

slot('title').textContent = props.title;
slot('sizes').replaceChildren(...props.start.sizes.map((size, i) => {
  const label = document.createElement('label');
  const input = document.createElement('input');
  const name = props.names[i] || (props.names.length > 1 ? `input ${i + 1}` : 'input shape');
  Object.assign(input, { type: 'text', value: size, autocomplete: 'off', spellcheck: false });
  input.dataset.size = '';
  input.setAttribute('aria-label', `${name}, sizes with commas between`);
  label.append(`${name} `, input);
  return label;
}));
for (const [value, title] of Object.entries(props.options.image)) addOption('image', value, title);
const held = heldPicture();
if (held) addOption('image', held.key, `Your picture: ${held.name}`);

function restore() {
  readAddress();
  changed();
}

// Asked when a person comes back to the page, as from the editor; never meanwhile.
async function lookAtFile() {
  if (document.hidden || !reading) return;
  let answer;
  try {
    answer = await server.changed({});
  } catch {
    return; // whatever is asked for next will say so
  }
  if (!answer) return;
  slot('changed').hidden = !answer.changed;
  if (answer.reading !== reading) changed();
}

window.addEventListener('popstate', restore);
window.addEventListener('focus', lookAtFile);
document.addEventListener('visibilitychange', lookAtFile);
document.addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input, select, textarea');
  if (event.key === 'r' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) reload();
});
root.addEventListener('dragover', (event) => event.preventDefault());
root.addEventListener('drop', (event) => {
  event.preventDefault();
  openFile(event.dataTransfer.files[0]);
});
restore();
