// Asking the server, and what it means when no answer comes.

import { gradio } from './context.js';
import { heldPicture } from './held-picture.js';

/**
 * @typedef {object} Fault
 * @property {string} field Name of the field that is wrong, or of what failed.
 * @property {string} html The sentence.
 * @property {string[]} [suggestion] A value that works, for each control of the field.
 */

/**
 * What the server answers; which fields there are depends on the function that was asked. HTML is
 * escaped on the server.
 *
 * @typedef {object} Answer
 * @property {Fault} [error] Why there is nothing else.
 * @property {boolean} [missing_picture] Whether the opened picture has to be sent again.
 * @property {string} [key] Of a picture that was opened, as are the next two.
 * @property {string} [data]
 * @property {string[]} [notes]
 * @property {string} [name] Of a file to save.
 * @property {string} [progress] How far a run is.
 * @property {string} [panel] HTML of the panel.
 * @property {string} [totals] HTML of the parts of the page, as are the next five.
 * @property {string} [summary]
 * @property {string} [status]
 * @property {string} [strip]
 * @property {string} [table]
 * @property {string} [editor]
 * @property {string} [stem] The stem in notation; of a module whether it has one.
 * @property {string} [preset] Name of the preset that the stem is.
 * @property {string} [about] What there is to say of the preset.
 * @property {string} [crop] How the picture was brought to the image size.
 * @property {number[]} [proportions] Height and width near that size that have its proportions.
 * @property {{ title: string, data: string }[]} [views] The picture as it is fed, and as opened.
 * @property {string} [layer] What of the selection there is.
 * @property {string} [cell]
 * @property {string} [token]
 * @property {boolean} [batch_norm] Whether the stem has a BatchNorm.
 * @property {boolean} [table_first] Whether the position table that is kept does not fit.
 * @property {boolean} [auto_run] Whether a run is cheap enough not to be asked for.
 * @property {Fault} [refusal] Why the stem is not run.
 * @property {string} [cost] What a run costs.
 * @property {boolean} [done] Whether a measurement of time is complete.
 * @property {string} [explained] HTML of an error's explanation.
 * @property {string} [witnesses] HTML of the layers as other programs count them.
 * @property {number} [reading] How often the module's file has been read.
 * @property {string} [read_at]
 * @property {boolean} [changed] Whether the file has changed since.
 * @property {string} [broken] HTML that says why the file cannot be used.
 * @property {string} [alerts]
 * @property {boolean} [image] Whether the module sees a picture.
 */

/**
 * What no answer means; the button asks again.
 *
 * @param {string} sentence
 * @param {string} [field]
 * @param {string} [again] The button's words; '' for no button.
 * @returns {Answer}
 */
function noAnswer(sentence, field = 'server', again = 'Try again') {
  const button = again && ` <button type="button" data-retry>${again}</button>`;
  return { error: { field, html: `<p role="alert">${sentence}${button}</p>` } };
}

const SILENT = noAnswer('The server does not answer. Start it again, then', 'server', 'try again');
const FAILED = noAnswer(
  'The server could not answer this. The terminal it runs in has the traceback.',
  'program',
);
/** @type {Record<number, Answer>} */
const REFUSED = { // by the status of the response
  401: noAnswer(
    'The server was started again with another token. Open the address that it printed.',
    'server',
    '',
  ),
  408: noAnswer('The request reached the server too slowly.'),
  413: noAnswer(
    'The request is larger than the server takes. Use a smaller picture or a shorter text.',
  ),
  503: noAnswer('The server is full of other requests.'),
};

let callStatus = 0; // of the newest call; Gradio's client does not pass it on

/** @param {PerformanceEntry[]} entries */
function noteStatus(entries) {
  for (const { name, responseStatus } of /** @type {PerformanceResourceTiming[]} */ (entries)) {
    if (name.includes('/component_server')) callStatus = responseStatus;
  }
}

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

/**
 * Calls a function of the server; an opened picture that it no longer has is sent again.
 *
 * @param {string} name
 * @param {Record<string, any>} request
 * @returns {Promise<Answer>}
 */
export async function ask(name, request) {
  let answer;
  try {
    answer = await gradio.server[name](request);
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
      html: '<p role="alert">image: the picture of this link is in another browser, and a link ' +
        'does not carry it. Open the file here, or use the photograph. ' +
        '<button type="button" data-use>Use it</button></p>',
    },
  };
}
