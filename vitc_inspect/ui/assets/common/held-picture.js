// The picture that a person opened, which the browser holds.

const PICTURE = 'vitc_inspect.picture'; // its name in the browser's storage

/**
 * @typedef {object} HeldPicture
 * @property {string} key Name that the server gave it.
 * @property {string} name Name of its file.
 * @property {string} data The picture as a data: address.
 * @property {string[]} notes What was done to it.
 */

/** @type {HeldPicture | null} */
let inMemory = null; // where the browser's storage has no room for it

/** @param {HeldPicture} picture */
export function holdPicture(picture) {
  inMemory = picture;
  try {
    sessionStorage.setItem(PICTURE, JSON.stringify(picture));
  } catch {
    // no room, or no leave to store: it lasts until the page is left
  }
}

/** The picture, or null when none was opened. */
export function heldPicture() {
  try {
    inMemory ??= JSON.parse(sessionStorage.getItem(PICTURE));
  } catch {
    // as above
  }
  return inMemory?.key ? inMemory : null;
}
