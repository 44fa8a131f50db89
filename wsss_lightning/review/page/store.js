// Decisions: kept in step with the server, saved at once, sent again if the server does not answer.

const RETRY = 2000; // milliseconds
const POLL = 4000;

/** A fetch whose failures are errors with the server's message. */
async function request(path, options) {
  const answer = await fetch(path, options);
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const error = new Error(content.error || `the server answered ${answer.status}`);
    error.status = answer.status;
    throw error;
  }
  return content;
}

const emptyState = () => ({verdicts: {}, tags: {}, shapes: []});

/** A copy of a state after a decision; the same rules as ImageState.add on the server. */
export function after(state, {class: name, decision, detail}) {
  const next = structuredClone(state);
  if (["accept", "reject", "undecided"].includes(decision)) {
    delete next.verdicts[name];
    if (decision !== "undecided") next.verdicts[name] = decision;
  } else if (decision === "tag") {
    delete next.tags[name];
    if (detail.present !== null) next.tags[name] = detail.present;
  } else {
    next.shapes = next.shapes.filter((shape) => shape.id !== detail.id);
    if (!detail.removed) next.shapes.push({id: detail.id, kind: decision, class_name: name, detail});
  }
  return next;
}

/** The decision that restores what `change` replaces. */
function inverse(state, change) {
  const {image, class: name, decision, detail} = change;
  if (["accept", "reject", "undecided"].includes(decision)) {
    return {image, class: name, decision: state.verdicts[name] || "undecided", detail: {}};
  }
  if (decision === "tag") {
    return {image, class: name, decision, detail: {present: state.tags[name] ?? null}};
  }
  const shape = state.shapes.find((one) => one.id === detail.id);
  return {image, class: name, decision, detail: shape ? shape.detail : {id: detail.id, removed: true}};
}

export class Store extends EventTarget {
  constructor() {
    super();
    this.states = new Map();
    this.revision = "";
    this.waiting = []; // decisions that are not on disk
    this.past = []; // decisions that undo the latest ones
    this.sending = false;
  }

  async open() {
    this.run = await request("api/run");
    this.key = `review ${this.run.file}`;
    const kept = JSON.parse(sessionStorage.getItem(this.key) || "{}");
    this.past = kept.past || [];
    this.take(await request("api/decisions"));
    // a reload interrupted these
    for (const change of kept.waiting || []) this.push(change);
    setInterval(() => this.poll(), POLL);
    addEventListener("beforeunload", (event) => {
      if (this.waiting.length) event.preventDefault();
    });
  }

  state(image) {
    return this.states.get(image) || emptyState();
  }

  /** Store decisions about one image, which one undo takes back together. */
  decide(changes) {
    const undo = [];
    for (const change of changes) {
      undo.unshift(inverse(this.state(change.image), change));
      this.push(change);
    }
    this.past.push(undo);
    this.past.splice(0, this.past.length - 200);
    this.keep();
  }

  /** Take back the latest decisions of this tab; returns the index of their image. */
  undo() {
    const changes = this.past.pop();
    if (!changes) return null;
    for (const change of changes) this.push(change);
    return changes[0].image;
  }

  push(change) {
    this.states.set(change.image, after(this.state(change.image), change));
    this.waiting.push(change);
    this.keep();
    this.changed([change.image]);
    this.send();
  }

  async send() {
    if (this.sending) return;
    this.sending = true;
    while (this.waiting.length) {
      this.status("saving");
      try {
        const body = JSON.stringify({...this.waiting[0], since: this.revision});
        const headers = {"Content-Type": "application/json"};
        const answer = await request("api/decisions", {method: "POST", headers, body});
        this.waiting.shift();
        this.keep();
        this.take(answer);
        this.status("saved");
      } catch (error) {
        if (error.status === 422) { // it can never be saved
          const {image} = this.waiting.shift();
          this.keep();
          this.revision = "";
          this.states.delete(image);
          this.status("refused", error.message);
          this.poll();
          continue;
        }
        this.status("failed", error.status ? error.message : "the server does not answer");
        await new Promise((done) => setTimeout(done, RETRY));
      }
    }
    this.sending = false;
  }

  async poll() {
    if (document.hidden || this.waiting.length) return;
    try {
      const answer = await request(`api/decisions?since=${this.revision}`);
      if (this.waiting.length) return; // its answer is newer
      this.take(answer);
      if (this.lost) this.status("saved");
    } catch (error) {
      this.status("failed", error.status ? error.message : "the server does not answer");
    }
  }

  take(answer) {
    this.revision = answer.revision;
    const indices = Object.keys(answer.images).map(Number);
    if (answer.complete) this.states.clear();
    for (const image of indices) this.states.set(image, answer.images[image]);
    for (const change of this.waiting) {
      this.states.set(change.image, after(this.state(change.image), change));
    }
    if (indices.length || answer.complete) this.changed(answer.complete ? null : indices);
  }

  keep() {
    const kept = {waiting: this.waiting, past: this.past};
    try {
      sessionStorage.setItem(this.key, JSON.stringify(kept));
    } catch {
      // full or switched off: the file on the server counts
    }
  }

  /** Tell which images changed; null: any may have. */
  changed(images) {
    this.dispatchEvent(new CustomEvent("change", {detail: images}));
  }

  status(kind, message = "") {
    this.lost = kind === "failed";
    this.dispatchEvent(new CustomEvent("status", {detail: {kind, message}}));
  }
}

export {request};
