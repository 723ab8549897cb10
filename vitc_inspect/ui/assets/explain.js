// An error that was pasted, and what it means for the stem on the screen.

const explainError = latest(async ({ text }) => {
  const answer = text.trim() ? await ask('explain', { ...readControls(), text }) : { explained: '' };
  if (text === root.querySelector('[data-error]').value) {
    const opened = slot('explained').querySelector('.rest')?.open;
    slot('explained').innerHTML = answer.explained ?? answer.error.html;
    if (opened) slot('explained').querySelector('.rest')?.setAttribute('open', '');
  }
});

// Also when the stem has changed, since the explanation is of the stem on the screen.
function askAboutError() {
  if (!root.querySelector('#explain').hidden) explainError.offer({ text: root.querySelector('[data-error]').value });
}

root.querySelector('[data-error]').addEventListener('input', askAboutError);

root.querySelector('[data-explain]').addEventListener('click', (event) => {
  const box = root.querySelector('#explain');
  box.hidden = !box.hidden;
  event.target.setAttribute('aria-expanded', String(!box.hidden));
  if (!box.hidden) box.querySelector('textarea').focus();
});
