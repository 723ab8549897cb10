// What Gradio gives the script of a component: its element, the values from Python, the server.

/// <reference path="./gradio.d.ts" />

/**
 * What Python says to a page at the start; `presets` and `link` are of the page for stems, `title`,
 * `live` and `names` of the page of a module.
 *
 * @typedef {object} Props
 * @property {Record<string, any>} start The fields at the start: text, but "sizes" a list of texts.
 * @property {Record<string, Record<string, string>>} options By list, the titles by value.
 * @property {Record<string, string>} own_notes What was done to each picture given at the start.
 * @property {number} max_file_bytes Size of the largest picture file.
 * @property {Record<string, Record<string, string>>} presets What each writes into the fields.
 * @property {{ always: string[], changed: string[], encoder: string[] }} link Fields of a link.
 * @property {Record<string, Record<string, string>>} glossary What each term's card says.
 * @property {string} title
 * @property {boolean} live Whether the module lives in the program that shows it.
 * @property {string[]} names Name of each input of the module; empty for one without.
 */

/** The only way to what Gradio gives; these names are in scope nowhere else. */
export const gradio = { element, props, server };
