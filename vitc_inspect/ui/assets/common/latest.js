// Work that always ends on the newest request.

/**
 * One request on its way, one waiting, none in between.
 *
 * @template Item
 * @param {(item: Item) => Promise<unknown>} work What to do with a request.
 * @returns {{ offer: (item: Item) => Promise<void> }}
 */
export function latest(work) {
  /** @type {Item | null} */
  let waiting = null;
  let busy = false;
  return {
    async offer(item) {
      waiting = item;
      if (busy) return;
      busy = true;
      try {
        while (waiting) {
          const next = waiting;
          waiting = null;
          await work(next);
        }
      } finally {
        busy = false;
      }
    },
  };
}
