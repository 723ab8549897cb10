// Runs that take a while: how far they are, and ending them.

import { around, one, root, slot } from './dom.js';
import { ask } from './server.js';

const SLOW = 800; // ms after which an answer is said to be on its way, and can be cancelled

/** @typedef {{ ticket: string, since: number }} Run since: in ms, as of performance.now() */

/** @type {Set<Run>} */
const underWay = new Set(); // those that are waited for, the oldest first

/**
 * Asks for a run; while it takes long, the page says why and for how long, and can cancel it.
 *
 * @param {string} name
 * @param {Record<string, any>} request
 */
export async function askForRun(name, request) {
  const numbers = [...crypto.getRandomValues(new Uint32Array(4))];
  const ticket = numbers.map((n) => n.toString(36)).join('');
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

/** @param {Run} own */
async function sayProgress(own) {
  const line = slot('progress');
  await slowly();
  while (underWay.has(own)) {
    const { progress } = await ask('progress', { ticket: own.ticket });
    const [oldest] = underWay;
    if (oldest === own && progress) one('span', line).textContent = progress;
    if (oldest === own) line.hidden = !progress;
    await slowly();
  }
}

function slowly() {
  return new Promise((done) => {
    setTimeout(done, SLOW);
  });
}

/** Ends the runs that take long; a short one is over before its worker could be started anew. */
export function cancelRun() {
  for (const { ticket, since } of underWay) {
    if (performance.now() - since > SLOW) ask('cancel', { ticket });
  }
}

root.addEventListener('click', (event) => {
  if (around(event)('[data-cancel-run]')) cancelRun();
});
