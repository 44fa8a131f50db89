// The photo with its layers: zoom, pan and drawing, by mouse, pen and touch.

import {draw, fromDrag} from "./shapes.js";

const LARGEST = 40; // screen pixels of an image pixel

export class Viewer extends EventTarget {
  constructor(place) {
    super();
    this.place = place;
    this.canvas = place.querySelector("#canvas");
    this.svg = place.querySelector("svg");
    this.size = [1, 1];
    this.view = {scale: 1, x: 0, y: 0};
    this.tool = "pan";
    this.width = 6;
    this.pointers = new Map();
    this.points = null; // of a drawing
    this.shapes = [];
    place.addEventListener("pointerdown", (event) => this.down(event));
    place.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      place.addEventListener(name, (event) => this.up(event));
    }
    place.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), this.local(event));
    }, {passive: false});
    place.addEventListener("dblclick", () => this.tool === "pan" && this.fit());
    new ResizeObserver(() => this.fitted && this.fit()).observe(place);
  }

  /** Show an image of (width, height) pixels as a whole. */
  open(size) {
    this.size = size;
    this.canvas.style.width = `${size[0]}px`;
    this.canvas.style.height = `${size[1]}px`;
    this.svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
    this.cancel();
    this.fit();
  }

  fit() {
    const {clientWidth: width, clientHeight: height} = this.place;
    const scale = Math.min(width / this.size[0], height / this.size[1], LARGEST) || 1;
    const [x, y] = [(width - this.size[0] * scale) / 2, (height - this.size[1] * scale) / 2];
    this.view = {scale, x, y};
    this.apply();
    this.fitted = true;
  }

  zoom(factor, at = [this.place.clientWidth / 2, this.place.clientHeight / 2]) {
    const {scale, x, y} = this.view;
    const least = Math.min(1, this.place.clientWidth / this.size[0] / 4);
    const next = Math.min(Math.max(scale * factor, least), LARGEST);
    const ratio = next / scale;
    this.view = {scale: next, x: at[0] - (at[0] - x) * ratio, y: at[1] - (at[1] - y) * ratio};
    this.fitted = false;
    this.apply();
  }

  apply() {
    const {scale, x, y} = this.view;
    this.canvas.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    // lines of one thickness on the screen
    this.canvas.style.setProperty("--pixel", 1 / scale);
    this.canvas.classList.toggle("sharp", scale > 3);
  }

  show(shapes, colourOf, colour) {
    this.shapes = shapes;
    this.colourOf = colourOf;
    this.colour = colour;
    this.redraw();
  }

  redraw() {
    const elements = this.shapes.map((shape) => draw(shape, this.colourOf));
    const drawn = this.drawn();
    if (drawn) elements.push(draw(drawn, () => this.colour));
    this.svg.replaceChildren(...elements);
  }

  drawn() {
    if (!this.points) return null;
    return fromDrag(this.tool, this.points, this.size, this.width, 1 / this.view.scale);
  }

  cancel() {
    this.points = null;
    this.redraw();
  }

  local(event) {
    const place = this.place.getBoundingClientRect();
    return [event.clientX - place.left, event.clientY - place.top];
  }

  /** Position in pixels of the image. */
  pixel(event) {
    const [x, y] = this.local(event);
    return [(x - this.view.x) / this.view.scale, (y - this.view.y) / this.view.scale];
  }

  down(event) {
    if (event.button > 1) return;
    this.place.focus({preventScroll: true});
    this.place.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.local(event));
    if (this.pointers.size > 1) {
      this.cancel();
    } else if (this.tool !== "pan" && event.button === 0) {
      event.preventDefault();
      this.points = [this.pixel(event)];
      this.redraw();
    }
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.local(event);
    if (this.points) {
      for (const one of event.getCoalescedEvents?.() || []) this.points.push(this.pixel(one));
      this.points.push(this.pixel(event));
      this.redraw();
    } else if (this.pointers.size === 1) {
      this.view.x += now[0] - before[0];
      this.view.y += now[1] - before[1];
      this.fitted = false;
      this.apply();
    } else {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const length = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
      this.view.x += (now[0] - before[0]) / 2;
      this.view.y += (now[1] - before[1]) / 2;
      this.zoom(length(now) / length(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
    }
    this.pointers.set(event.pointerId, now);
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    if (!this.points) return;
    const drawn = event.type === "pointerup" ? this.drawn() : null;
    this.cancel();
    if (drawn) this.dispatchEvent(new CustomEvent("shape", {detail: drawn}));
  }
}
