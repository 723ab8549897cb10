// A picture from the clipboard or from the camera.

import { buttonOf, dialogOf } from './dialogs.js';
import { around, one } from './dom.js';
import { openFile, refusePicture } from './pictures.js';

const TEXT = 'textarea, [contenteditable], ' +
  'input:not([type=checkbox], [type=range], [type=file], [type=button])';

document.addEventListener('paste', (event) => {
  if (around(event)(TEXT) || one('dialog[open]', document)) return;
  const files = [...(event.clipboardData?.files ?? [])];
  const picture = files.find((file) => file.type.startsWith('image/'));
  if (!picture) return;
  event.preventDefault();
  openFile(picture);
});

/** @type {Record<string, string>} */
const REASONS = { // of no picture, by the name of the browser's error
  NotAllowedError: 'the browser may not use it. Allow the camera for this page, or open a file.',
  NotFoundError: 'there is none. Connect one, or open a file.',
  NotReadableError: 'another program uses it. Close that program, or open a file.',
};

const video = document.createElement('video');
Object.assign(video, { autoplay: true, muted: true, playsInline: true });
const take = /** @type {HTMLButtonElement} */ (buttonOf('Take the picture', takePicture));
const actions = document.createElement('div');
actions.className = 'line';
actions.append(take, buttonOf('Cancel', () => dialog.close()));
const dialog = dialogOf('camera', 'Take a picture', video, actions);

/** @param {MediaStream | null} stream */
function stop(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

function stopVideo() {
  stop(/** @type {MediaStream} */ (video.srcObject));
  video.srcObject = null;
}

async function openCamera() {
  take.disabled = true;
  dialog.showModal();
  try {
    const asked = { video: { facingMode: { ideal: 'environment' } } };
    const stream = await navigator.mediaDevices.getUserMedia(asked);
    if (!dialog.open) return stop(stream); // cancelled while the browser asked
    stopVideo(); // of a request that was cancelled, and granted after all
    video.srcObject = stream;
  } catch (error) {
    if (!dialog.open) return; // cancelled, so nobody waits for it
    dialog.close();
    const { name } = /** @type {DOMException} */ (error);
    const reason = REASONS[name] ?? 'it does not work. Open a file.';
    refusePicture(`<p role="alert">camera: ${reason}</p>`);
  }
}

function takePicture() {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext('2d').drawImage(video, 0, 0);
  dialog.close();
  canvas.toBlob(
    (blob) => {
      if (blob) openFile(new File([blob], 'camera.jpg', { type: blob.type }));
    },
    'image/jpeg',
    0.95,
  );
}

video.addEventListener('loadeddata', () => {
  take.disabled = false;
  take.focus();
});
dialog.addEventListener('close', stopVideo);
addEventListener('pagehide', stopVideo);

if (navigator.mediaDevices?.getUserMedia) {
  const button = one('[data-camera]');
  button.hidden = false;
  button.addEventListener('click', openCamera);
}
