// Lists that are rebuilt from the state: classes and shapes of an image, and all images.

/** An element with properties and children. */
export function make(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children.filter((child) => child !== null));
  return node;
}

export const percent = (value) => (value == null ? "–" : `${Math.round(100 * value)} %`);

function toggle(label, pressed, title, action) {
  const button = make("button", {textContent: label, title, onclick: action});
  button.setAttribute("aria-pressed", pressed);
  return button;
}

function swatch(colour) {
  const node = make("span", {className: "swatch"});
  node.style.background = colour;
  return node;
}

/** Rows of the classes of an image. `actions`: verdict, heat, choose, untag. */
export function classRows(classes, shown, state, options, actions) {
  return shown.map((c) => {
    const {name, colour} = classes[c.index];
    const verdict = state.verdicts[name];
    const choose = make("button", {className: "name", title: "Draw this class", onclick: () => actions.choose(name)},
      swatch(colour), name);
    choose.setAttribute("aria-pressed", options.drawn === name);
    const marks = make("div", {className: "marks"},
      toggle("CAM", options.heat === c.index, "Show its heat map (c)", () => actions.heat(c.index)),
      toggle("✓", verdict === "accept", `Accept ${name}`, () => actions.verdict(name, "accept")),
      toggle("✗", verdict === "reject", `Reject ${name}: ignore its pixels`, () => actions.verdict(name, "reject")),
      options.canRetag ? make("button", {textContent: "remove", title: `The image does not show ${name}`,
        onclick: () => actions.untag(name)}) : null);
    for (const button of marks.children) button.setAttribute("aria-label", button.title);
    const row = make("li", {}, choose, make("span", {className: "soft", textContent: c.quality == null ? "" : percent(c.quality)}), marks);
    row.dataset.class = name;
    if (c.added) row.append(make("span", {className: "note", textContent: "added"}));
    return row;
  });
}

/** Rows of classes whose tag was removed. */
export function removedRows(names, restore) {
  return names.map((name) => make("li", {className: "removed"}, make("s", {textContent: name}),
    make("button", {textContent: "restore", onclick: () => restore(name)})));
}

const WORDS = {ignore: "ignored region", box: "box", scribble: "scribble"};

/** Rows of shapes, the latest first. */
export function shapeRows(shapes, colourOf, remove) {
  if (!shapes.length) return [make("li", {className: "soft", textContent: "nothing"})];
  return shapes.toReversed().map((shape) => make("li", {},
    swatch(shape.kind === "ignore" ? "#ffffff" : colourOf(shape.class_name)),
    make("span", {className: "name", textContent: `${WORDS[shape.kind]} ${shape.class_name}`}),
    make("button", {textContent: "remove", onclick: () => remove(shape)})));
}

/** What the list shows about the decisions of an image. */
export function summary(state) {
  const verdict = state.verdicts[""];
  const corrected = state.shapes.length + Object.keys(state.tags).length
    + Object.keys(state.verdicts).filter((name) => name).length;
  const marks = [];
  if (verdict === "accept") marks.push("✓");
  if (verdict === "reject") marks.push("✗");
  if (corrected) marks.push("✎");
  const words = {accept: "accepted", reject: "rejected"};
  return {verdict, corrected: corrected > 0, reviewed: marks.length > 0, mark: marks.join(" "),
    label: [words[verdict], corrected ? "corrected" : ""].filter(Boolean).join(", ") || "no decision"};
}

/** A row of the list of images. */
export function imageRow(image, open) {
  const thumbnail = make("img", {loading: "lazy", alt: "", src: `images/${image.index}/thumbnail`});
  const mark = make("span", {className: "mark"});
  const meter = make("span", {className: "quality"}, make("i"));
  if (image.quality != null) meter.firstChild.style.width = `${100 * image.quality}%`;
  else meter.classList.add("unknown");
  meter.title = `estimated quality ${percent(image.quality)}`;
  const text = make("span", {className: "text"}, make("span", {className: "name", textContent: image.name}), meter);
  const button = make("button", {onclick: open}, thumbnail, text, mark);
  const row = make("li", {}, button);
  row.dataset.image = image.index;
  return row;
}
