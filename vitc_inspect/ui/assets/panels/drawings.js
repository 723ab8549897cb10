// Where on a drawing the pointer is.

/**
 * Row and column under the pointer, in the drawing's own units.
 *
 * @param {Element} drawing
 * @param {MouseEvent} event
 */
export function unitsUnder(drawing, event) {
  const matrix = /** @type {SVGGraphicsElement} */ (drawing).getScreenCTM();
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
  return [point.y, point.x];
}
