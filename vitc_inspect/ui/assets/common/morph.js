// Changing what is on the page into new HTML, where the two differ; what is the same stays.

/**
 * Makes an element's content equal to HTML, and keeps every node that the two have in common, so
 * that the browser works out the style of what has changed alone.
 *
 * @param {Element} element
 * @param {string} html
 */
export function morph(element, html) {
  const template = document.createElement('template');
  template.innerHTML = html;
  morphChildren(element, template.content);
}

/**
 * @param {Node} old
 * @param {Node} fresh Is taken apart.
 */
function morphChildren(old, fresh) {
  let at = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    let same = at;
    while (same && !areAlike(same, next)) same = same.nextSibling;
    if (!same) {
      old.insertBefore(next, at);
      continue;
    }
    while (at !== same) at = removed(at);
    morphNode(same, next);
    at = same.nextSibling;
  }
  while (at) at = removed(at);
}

/**
 * Removes a node, and returns the one that followed it.
 *
 * @param {ChildNode} node
 */
function removed(node) {
  const following = node.nextSibling;
  node.remove();
  return following;
}

/**
 * Whether one node can become another: both are the same kind of element, and of the same layer.
 *
 * @param {Node} one
 * @param {Node} other
 */
function areAlike(one, other) {
  if (one.nodeType !== other.nodeType || one.nodeName !== other.nodeName) return false;
  if (!(one instanceof Element && other instanceof Element)) return true;
  if (one.getAttribute('data-layer') !== other.getAttribute('data-layer')) return false;
  return one.classList[0] === other.classList[0];
}

/**
 * @param {Node} old
 * @param {Node} fresh
 */
function morphNode(old, fresh) {
  if (!(old instanceof Element && fresh instanceof Element)) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morphChildren(old, fresh);
}
