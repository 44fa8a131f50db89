// Shapes as SVG elements, in pixels of the image.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

const pairs = (points) => points.map(([x, y]) => `${x},${y}`).join(" ");

/** The element of a shape; `colourOf` gives the colour of a class. */
export function draw(shape, colourOf) {
  const {kind, class_name: name, detail} = shape;
  const colour = kind === "ignore" ? "#ffffff" : colourOf(name);
  if (kind === "ignore") {
    return element("polygon", {points: pairs(detail.points), class: "region"});
  }
  if (kind === "box") {
    const [x0, y0, x1, y1] = detail.box;
    const size = {x: x0, y: y0, width: x1 - x0, height: y1 - y0};
    const group = element("g", {class: "box"});
    group.append(element("rect", {...size, class: "halo"}), element("rect", size));
    group.style.setProperty("--colour", colour);
    return group;
  }
  const points = pairs(detail.points.length > 1 ? detail.points : [...detail.points, ...detail.points]);
  const group = element("g", {class: "stroke"});
  group.append(element("polyline", {points, class: "halo"}), element("polyline", {points}));
  group.style.setProperty("--colour", colour);
  group.style.setProperty("--width", `${detail.width}px`);
  return group;
}

/** A shape from the points of a drag; null if it is too small to be meant. */
export function fromDrag(tool, points, size, width, pixel) {
  const id = crypto.randomUUID ? crypto.randomUUID() : `${Date.now()}-${Math.random()}`.replace(".", "");
  const inside = ([x, y]) => [clamp(x, size[0]), clamp(y, size[1])];
  const [first, last] = [inside(points[0]), inside(points.at(-1))];
  const [x0, x1] = [first[0], last[0]].sort((a, b) => a - b);
  const [y0, y1] = [first[1], last[1]].sort((a, b) => a - b);
  if (tool === "scribble") {
    return {kind: "scribble", detail: {id, size, points: thin(points.map(inside), pixel), width}};
  }
  if (tool === "freehand") {
    const outline = thin(points.map(inside), pixel);
    return outline.length < 3 ? null : {kind: "ignore", detail: {id, size, points: outline}};
  }
  if (x1 - x0 < 1 || y1 - y0 < 1) return null;
  if (tool === "box") return {kind: "box", detail: {id, size, box: [x0, y0, x1, y1]}};
  return {kind: "ignore", detail: {id, size, points: [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]}};
}

const clamp = (value, most) => Math.round(10 * Math.min(Math.max(value, 0), most)) / 10;

/** Points at least `pixel` apart, so that a long stroke stays small. */
function thin(points, pixel) {
  const kept = [points[0]];
  for (const point of points.slice(1)) {
    const [x, y] = kept.at(-1);
    if (Math.hypot(point[0] - x, point[1] - y) >= pixel) kept.push(point);
  }
  const last = points.at(-1);
  if (kept.length > 1 && kept.at(-1) !== last) kept.push(last);
  return kept.slice(0, 20000);
}
