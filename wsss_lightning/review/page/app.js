// The review page: joins the list, the viewer, the panel and the stored decisions.

import {Store, request} from "./store.js";
import {Viewer} from "./viewer.js";
import {classRows, imageRow, make, percent, removedRows, shapeRows, summary} from "./panel.js";

const $ = (id) => document.getElementById(id);
const store = new Store();
const viewer = new Viewer($("viewer"));
const view = {at: 0, mask: 0, heat: null, drawn: "", proposed: [], hidden: false};
let images = [], classes = [], byIndex = new Map(), rows = new Map(), shown = [];
const reviewed = new Set(), fitting = new Set(); // indices of images

const current = () => images[view.at];
const colourOf = (name) => classes.find((one) => one.name === name)?.colour || "#000000";

/** Classes of an image after re-tagging: index, quality, and whether a person added it. */
function tagsOf(image) {
  const changed = store.state(image.index).tags;
  return classes.flatMap(({name}, index) => {
    const given = image.tags.includes(index);
    const present = changed[name] ?? given;
    return present ? [{index, quality: image.class_quality[index], added: !given}] : [];
  });
}

function open(position) {
  if (!images.length) return;
  view.at = Math.min(Math.max(position, 0), images.length - 1);
  const image = current();
  view.heat = null;
  viewer.open(image.size);
  $("photo").src = `images/${image.index}/photo`;
  $("photo").alt = image.name;
  const least = Math.max(...image.size) / 300;
  $("width").max = Math.ceil(30 * least);
  $("width").value = Math.max(1, Math.round(5 * least));
  const tags = tagsOf(image);
  const names = tags.map((tag) => classes[tag.index].name);
  if (!names.includes(view.drawn)) view.drawn = names[0] || classes[0].name;
  history.replaceState(null, "", `#${image.index}`);
  showLayers();
  showImage();
  markRow();
  document.body.classList.remove("with-list");
  $("toggle-list").setAttribute("aria-expanded", false);
  prefetch();
}

/** Load the next image in advance. */
function prefetch() {
  const next = images[nextPosition(1)];
  if (next) new Image().src = `images/${next.index}/photo`;
}

function nextPosition(step) {
  const place = shown.indexOf(view.at);
  if (place >= 0) return shown[Math.min(Math.max(place + step, 0), shown.length - 1)];
  const after = shown.filter((one) => (step > 0 ? one > view.at : one < view.at));
  return (step > 0 ? after[0] : after.at(-1)) ?? shown[0] ?? view.at;
}

function showLayers() {
  const image = current();
  const layer = store.run.layers[view.mask];
  // a heat map takes the place of the mask
  $("mask").hidden = !layer || view.hidden || view.heat !== null;
  // this mask changes with each decision
  const version = layer?.key === "decided" ? `?${store.revision}` : "";
  if (layer) $("mask").src = `images/${image.index}/${layer.key}${version}`;
  $("heat").hidden = view.heat === null || view.hidden;
  if (view.heat !== null) $("heat").src = `images/${image.index}/heat/${view.heat}`;
  viewer.svg.classList.toggle("hidden", view.hidden);
  for (const [i, button] of [...$("masks").children].entries()) {
    button.setAttribute("aria-pressed", view.heat === null && i === view.mask);
  }
}

function showImage() {
  const image = current();
  const state = store.state(image.index);
  const canRetag = store.run.can_retag;
  $("name").textContent = image.name;
  $("facts").textContent = `${image.size.join(" × ")} pixels, `
    + (store.run.has_quality ? `estimated quality ${percent(image.quality)}, ` : "")
    + `${view.at + 1} of ${images.length}`;
  for (const button of document.querySelectorAll(".verdict button")) {
    button.setAttribute("aria-pressed", state.verdicts[""] === button.dataset.verdict);
  }
  const tags = tagsOf(image);
  const options = {heat: view.heat, drawn: view.drawn, canRetag};
  const given = image.tags.map((c) => classes[c].name);
  const removed = given.filter((name) => state.tags[name] === false);
  const restore = (name) => decide([{class: name, decision: "tag", detail: {present: null}}]);
  $("classes").replaceChildren(
    ...classRows(classes, tags, state, options, actions),
    ...removedRows(removed, restore),
  );
  $("shapes").replaceChildren(...shapeRows(state.shapes, colourOf, (shape) => decide([
    {class: shape.class_name, decision: shape.kind, detail: {id: shape.id, removed: true}},
  ])));
  const present = tags.map((tag) => tag.index);
  const others = classes.filter((_, index) => !present.includes(index));
  $("add-tag-label").hidden = !canRetag || !others.length;
  $("add-tag").replaceChildren(make("option", {value: "", textContent: "choose"}),
    ...others.map(({name}) => make("option", {value: name, textContent: name})));
  $("undo").disabled = !store.past.length;
  showTools();
}

function showTools() {
  for (const button of $("tools").children) {
    button.setAttribute("aria-pressed", button.dataset.tool === viewer.tool);
  }
  $("viewer").dataset.tool = viewer.tool;
  const isScribble = viewer.tool === "scribble";
  const choices = [...(isScribble ? ["background"] : []), ...classes.map(({name}) => name)];
  if (!choices.includes(view.drawn)) view.drawn = choices[0];
  $("draw-class").replaceChildren(...choices.map((name) => make("option", {value: name, textContent: name})));
  $("draw-class").value = view.drawn;
  $("draw-class-label").classList.toggle("off", !["box", "scribble"].includes(viewer.tool));
  $("width-label").classList.toggle("off", !isScribble);
  viewer.width = Number($("width").value);
  $("width-value").textContent = `${viewer.width} px`;
  viewer.show(store.state(current().index).shapes, colourOf, colourOf(view.drawn));
}

function decide(changes) {
  const {index} = current();
  store.decide(changes.map((change) => ({image: index, ...change})));
}

function verdict(name, wanted) {
  const taken = store.state(current().index).verdicts[name] === wanted;
  decide([{class: name, decision: taken ? "undecided" : wanted, detail: {}}]);
  if (!taken && !name && $("advance").checked) open(nextPosition(1));
}

const actions = {
  verdict,
  heat(index) {
    view.heat = view.heat === index ? null : index;
    showLayers();
    showImage();
  },
  choose(name) {
    view.drawn = name;
    showImage();
  },
  untag(name) {
    const given = current().tags.map((c) => classes[c].name).includes(name);
    decide([{class: name, decision: "tag", detail: {present: given ? false : null}}]);
  },
};

function addTag(name) {
  const given = current().tags.map((c) => classes[c].name).includes(name);
  return {class: name, decision: "tag", detail: {present: given ? null : true}};
}

viewer.addEventListener("shape", ({detail: {kind, detail}}) => {
  const name = kind === "ignore" ? "" : view.drawn;
  const changes = [{class: name, decision: kind, detail}];
  const tagged = tagsOf(current()).map((tag) => classes[tag.index].name);
  // whoever draws a class says that the image shows it
  if (store.run.can_retag && name && name !== "background" && !tagged.includes(name)) {
    changes.push(addTag(name));
  }
  decide(changes);
});

function setTool(tool) {
  viewer.tool = tool;
  viewer.cancel();
  showTools();
}

function markRow() {
  $("list").querySelector("[aria-current]")?.removeAttribute("aria-current");
  const row = rows.get(current().index);
  row.firstChild.setAttribute("aria-current", "true");
  row.scrollIntoView({block: "nearest"});
}

function showRow(image) {
  const row = rows.get(image.index);
  const {mark, label, verdict: given} = summary(store.state(image.index));
  row.querySelector(".mark").textContent = mark;
  row.dataset.decided = given || "";
  row.firstChild.setAttribute("aria-label", `${image.name}, ${label}`);
}

/** Apply the filters to images that changed, or to all, and count the reviewed images. */
function showList(changed = images) {
  const [wanted, state, part] = [$("filter-class").value, $("filter-state").value, $("filter-name").value.toLowerCase()];
  for (const image of changed) {
    const about = summary(store.state(image.index));
    if (about.reviewed) reviewed.add(image.index);
    else reviewed.delete(image.index);
    const fits = (!wanted || tagsOf(image).some((tag) => classes[tag.index].name === wanted))
      && (!state || about.verdict === state || (state === "corrected" && about.corrected)
        || (state === "undecided" && !about.reviewed) || (state === "proposed" && view.proposed.includes(image.index)))
      && image.name.toLowerCase().includes(part);
    if (fits) fitting.add(image.index);
    else fitting.delete(image.index);
    rows.get(image.index).hidden = !fits;
  }
  shown = [];
  images.forEach(({index}, position) => fitting.has(index) && shown.push(position));
  $("progress").max = images.length;
  $("progress").value = reviewed.size;
  $("progress-text").textContent = `${reviewed.size} of ${images.length} reviewed`;
  const order = store.run.has_quality ? "worst quality first" : "by name, since the run has no quality.csv";
  $("list-note").textContent = `${shown.length} of ${images.length} images, ${order}`;
}

async function propose() {
  const undecided = (index) => !summary(store.state(index)).reviewed;
  view.proposed = view.proposed.filter((index) => undecided(index) && index !== current().index);
  if (!view.proposed.length) view.proposed = await request("api/next");
  const next = view.proposed.find((index) => index !== current().index) ?? view.proposed[0];
  showList();
  if (next === undefined) banner("Every image has a decision.");
  else open(images.findIndex((image) => image.index === next));
}

function banner(message) {
  $("banner").textContent = message;
  $("banner").hidden = !message;
}

function listen() {
  store.addEventListener("change", ({detail}) => {
    const changed = detail ? detail.map((index) => byIndex.get(index)) : images;
    changed.forEach(showRow);
    showList(changed);
    if (!detail || detail.includes(current().index)) {
      showLayers();
      if (!viewer.points) showImage();
    }
  });
  store.addEventListener("status", ({detail: {kind, message}}) => {
    $("saved").textContent = {saving: "saving", saved: "saved", failed: "not saved", refused: "refused"}[kind];
    $("saved").dataset.kind = kind;
    if (kind === "failed") banner(`Not saved: ${message}. Decisions are kept in this tab and sent again.`);
    else banner(kind === "refused" ? `Refused: ${message}` : "");
  });
  $("previous").onclick = () => open(nextPosition(-1));
  $("next").onclick = () => open(nextPosition(1));
  $("undo").onclick = undo;
  $("propose").onclick = propose;
  $("help").onclick = () => $("keys").showModal();
  $("fit").onclick = () => viewer.fit();
  $("zoom-in").onclick = () => viewer.zoom(1.4);
  $("zoom-out").onclick = () => viewer.zoom(1 / 1.4);
  $("opacity").oninput = () => $("canvas").style.setProperty("--opacity", $("opacity").value / 100);
  $("opacity").oninput();
  $("width").oninput = showTools;
  $("draw-class").onchange = () => actions.choose($("draw-class").value);
  $("add-tag").onchange = () => $("add-tag").value && decide([addTag($("add-tag").value)]);
  $("advance").checked = localStorage.getItem("advance") === "true";
  $("advance").onchange = () => localStorage.setItem("advance", $("advance").checked);
  $("toggle-list").onclick = () => {
    const open_ = document.body.classList.toggle("with-list");
    $("toggle-list").setAttribute("aria-expanded", open_);
  };
  for (const button of $("tools").children) button.onclick = () => setTool(button.dataset.tool);
  for (const button of document.querySelectorAll(".verdict button")) {
    button.onclick = () => verdict("", button.dataset.verdict);
  }
  for (const id of ["filter-class", "filter-state", "filter-name"]) {
    $(id).oninput = async () => {
      if ($(id).value === "proposed" && !view.proposed.length) view.proposed = await request("api/next");
      showList();
      if (shown.length && !shown.includes(view.at)) open(shown[0]);
    };
  }
  addEventListener("keydown", key);
  addEventListener("keyup", (event) => event.key === " " && hide(false));
}

function undo() {
  const image = store.undo();
  if (image !== null && image !== current().index) {
    open(images.findIndex((one) => one.index === image));
  }
  showImage();
}

function hide(hidden) {
  view.hidden = hidden;
  showLayers();
}

function setMask(mask) {
  view.mask = mask;
  view.heat = null;
  showLayers();
  showImage();
}

function nextHeat() {
  const tags = tagsOf(current()).map((tag) => tag.index);
  const place = view.heat === null ? 0 : tags.indexOf(view.heat) + 1;
  view.heat = tags[place] ?? null;
  showLayers();
  showImage();
}

const KEYS = {
  j: () => open(nextPosition(1)), k: () => open(nextPosition(-1)), n: propose,
  ArrowRight: () => open(nextPosition(1)), ArrowLeft: () => open(nextPosition(-1)),
  a: () => verdict("", "accept"), r: () => verdict("", "reject"), u: undo,
  i: () => setTool("ignore"), f: () => setTool("freehand"), b: () => setTool("box"),
  s: () => setTool("scribble"), v: () => setTool("pan"), Escape: () => viewer.cancel(),
  m: () => setMask((view.mask + 1) % $("masks").children.length), c: nextHeat, w: () => viewer.fit(), "+": () => viewer.zoom(1.4), "-": () => viewer.zoom(1 / 1.4),
  "?": () => $("keys").showModal(), " ": () => hide(true),
};

function key(event) {
  const typing = event.target.closest?.("input:not([type=range], [type=checkbox]), select, dialog");
  const onButton = event.target.closest?.("button") && event.key === " ";
  const undoes = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
  if (typing || onButton || ((event.ctrlKey || event.metaKey || event.altKey) && !undoes)) return;
  if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
  const digit = /^[0-9]$/.test(event.key) ? Number(event.key) : null;
  const name = digit === 0 ? "background" : classes[digit - 1]?.name;
  const action = undoes ? undo : digit !== null ? name && (() => actions.choose(name)) : KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

async function start() {
  await store.open();
  ({images, classes} = store.run);
  byIndex = new Map(images.map((image) => [image.index, image]));
  $("title").textContent = store.run.title;
  document.title = `Review: ${store.run.title}`;
  $("file").textContent = store.run.file;
  $("filter-class").append(...classes.map(({name}) => make("option", {value: name, textContent: name})));
  const masks = [...store.run.layers.map((layer) => layer.label), "no mask"];
  $("masks").replaceChildren(...masks.map((label, i) => make("button", {textContent: label, title: "Next mask: m",
    onclick: () => setMask(i)})));
  rows = new Map(images.map((image, position) => [image.index, imageRow(image, () => open(position))]));
  $("list").append(...rows.values());
  images.forEach(showRow);
  showList();
  listen();
  const asked = images.findIndex((image) => `#${image.index}` === location.hash);
  open(asked >= 0 ? asked : shown[0] ?? 0);
  store.status(store.waiting.length ? "saving" : "saved");
  document.body.dataset.ready = "true";
}

start().catch((error) => banner(`The page cannot start: ${error.message}`));
