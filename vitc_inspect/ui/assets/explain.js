// An error that was pasted, and what it means for the stem on the screen.

const explainError = latest(async ({ text }) => {
  const answer = text.trim() ? await ask('explain', { ...readControls(), text }) : { explained: '' };
  if (text === root.querySelector('[data-error]').value) {
    slot('explained').innerHTML = answer.explained ?? answer.error.html;
  }
});

root.querySelector('[data-error]').addEventListener('input', (event) => explainError.offer({ text: event.target.value }));

root.querySelector('[data-explain]').addEventListener('click', (event) => {
  const box = root.querySelector('#explain');
  box.hidden = !box.hidden;
  event.target.setAttribute('aria-expanded', String(!box.hidden));
  if (!box.hidden) box.querySelector('textarea').focus();
});
