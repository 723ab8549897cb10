// The page's start: fill the lists, then show what the address asks for.

field('preset').add(new Option('a stem of your own', ''));
for (const [name, preset] of Object.entries(props.presets)) {
  let group = [...field('preset').querySelectorAll('optgroup')].find((known) => known.label === preset.group);
  if (!group) {
    group = document.createElement('optgroup');
    group.label = preset.group;
    field('preset').append(group);
  }
  group.append(new Option(preset.title, name));
}
for (const [name, titles] of Object.entries(props.options)) {
  for (const [value, title] of Object.entries(titles)) addOption(name, value, title);
}
slot('from_file').hidden = props.start.weights.startsWith('file:'); // which is how a given one is known
const held = heldPicture();
if (held) addOption('image', held.key, `Your picture: ${held.name}`);

function restore() {
  writeControls(readAddress());
  pushDue = false;
  changed({ history: 'replace', by: 'text' });
}

window.addEventListener('popstate', restore);
root.addEventListener('dragover', (event) => event.preventDefault());
root.addEventListener('drop', (event) => {
  event.preventDefault();
  openFile(event.dataTransfer.files[0]);
});
restore();
