"use strict";
// The review page. The server holds tracks, suspects and frames; here are lists, choices, rendering and keys, in
// picture.js what is shown and drawn.
// Texts from outside are set as text, never as markup. Pictures stay in memory.
const token = document.querySelector("meta[name=token]").content;
const THUMB_PX = 136;

let state = null;
let chosen = null;
let suspect = -1;
const looked = new Set(JSON.parse(sessionStorage.getItem("looked") ?? "[]"));

function say(words, bad = false) {
  byId("said").textContent = words;
  byId("said").classList.toggle("bad", bad);
}
const clock = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(3).padStart(6, "0")}`;
const track = (id) => state.tracks.find((t) => t.id === id);

async function post(path, body = {}) {
  const reply = await fetch(path, { method: "POST", headers: { "X-Token": token }, body: JSON.stringify(body) });
  if (!reply.ok) {
    say(await reply.text(), true);
    return false;
  }
  take(await reply.json());
  return true;
}
async function edit(what, words) {
  if (await post("/edit", what)) {
    say(words);
    await boxes();
  }
}

// Thumbnails, cut out of frames when they come into sight.
const thumbs = new Map();
const queue = [];
let cutting = false;
const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    sight.unobserve(target);
    queue.push(target);
  }
  queue.sort((a, b) => a.look.at_s - b.look.at_s);
  if (!cutting) cut();
});
async function cut() {
  cutting = true;
  for (let canvas = queue.shift(); canvas; canvas = queue.shift()) {
    try {
      const { at_s, box_px: [x0, y0, x1, y1] } = canvas.look;
      const reply = await fetch(`/strip.jpg?at=${at_s}`);
      if (!reply.ok) continue;
      const bitmap = await createImageBitmap(await reply.blob());
      const [sx, sy] = [bitmap.width / state.film.width_px, bitmap.height / state.film.height_px];
      const side = 1.3 * Math.max((x1 - x0) * sx, (y1 - y0) * sy);
      const [left, top] = [((x0 + x1) / 2) * sx - side / 2, ((y0 + y1) / 2) * sy - side / 2];
      canvas.getContext("2d").drawImage(bitmap, left, top, side, side, 0, 0, THUMB_PX, THUMB_PX);
      bitmap.close();
    } catch { /* a thumbnail that stays empty is no reason to stop */ }
  }
  cutting = false;
}
function thumb(look, id) {
  const name = JSON.stringify(look);
  let canvas = thumbs.get(name);
  if (!canvas) {
    canvas = document.createElement("canvas");
    canvas.width = canvas.height = THUMB_PX;
    canvas.look = look;
    canvas.setAttribute("role", "img");
    thumbs.set(name, canvas);
    sight.observe(canvas);
  }
  canvas.setAttribute("aria-label", `Track ${id} at ${clock(look.at_s)}`);
  return canvas;
}

// Lists.
const tag = (name, kind, ...children) => {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.append(...children);
  return made;
};
function card(t) {
  const item = tag("li", `${t.decision}${t.id === chosen ? " chosen" : ""}`);
  const [from, to] = [t.spans[0][1], t.spans.at(-1)[2]];
  const pick = tag("button", "pick", tag("strong", "", `Track ${t.id}`), ` ${t.decision}`,
    tag("small", "", `person ${t.person} · score ${t.score.toFixed(2)}`), tag("small", "", `${clock(from)} – ${clock(to)}`));
  pick.type = "button";
  pick.dataset.focus = `track-${t.id}`;
  pick.setAttribute("aria-pressed", String(t.id === chosen));
  pick.addEventListener("click", () => { choose(t.id); go(`at=${(t.looks[0] ?? { at_s: from }).at_s}`); });
  const { first_s, last_s } = state.film;
  const share = (s) => (100 * (s - first_s)) / Math.max(last_s - first_s, 1e-9);
  const line = tag("div", "line", ...t.spans.map(([origin, a, b]) => {
    const bar = tag("b", origin);
    bar.style.left = `${share(a)}%`;
    bar.style.width = `${share(b) - share(a)}%`;
    return bar;
  }), tag("i", ""));
  line.setAttribute("role", "img");
  line.setAttribute("aria-label", `There ${t.spans.map(([origin, a, b]) => `${clock(a)} to ${clock(b)} ${origin}`).join(", ")}`);
  line.addEventListener("click", (event) => {
    const area = line.getBoundingClientRect();
    choose(t.id);
    go(`at=${first_s + ((event.clientX - area.left) / area.width) * (last_s - first_s)}`);
  });
  item.append(pick, tag("div", "looks", ...t.looks.map((look) => thumb(look, t.id))), line);
  return item;
}
const known = (s) => `${s.track} ${s.why} ${s.at_s}`;
function suspects() {
  const left = state.suspects.filter((s) => !looked.has(known(s))).length;
  byId("suspects-title").textContent = state.suspects.length ? `Suspects: ${left} of ${state.suspects.length} to look at` : "Suspects: none";
  byId("suspects").replaceChildren(...state.suspects.map((s, i) => {
    const seen = looked.has(known(s));
    const button = tag("button", seen ? "looked" : "", `${seen ? "✓ " : ""}Track ${s.track} at ${clock(s.at_s)}`, tag("small", "", s.words));
    button.type = "button";
    button.dataset.focus = `suspect-${i}`;
    button.addEventListener("click", () => look(i));
    return tag("li", "", button);
  }));
}
async function look(i) {
  const s = state.suspects[i];
  if (!s) return;
  suspect = i;
  looked.add(known(s));
  sessionStorage.setItem("looked", JSON.stringify([...looked]));
  choose(s.track);
  say(`Track ${s.track}: ${s.words}`);
  await go(`at=${s.at_s}`);
}
function lists() {
  const focus = document.activeElement?.dataset?.focus;
  byId("tracks").replaceChildren(...state.tracks.map(card));
  suspects();
  if (focus) document.querySelector(`[data-focus="${focus}"]`)?.focus();
  const others = state.tracks.filter((t) => t.id !== chosen);
  byId("other").replaceChildren(...others.map((t) => {
    const option = tag("option", "", `track ${t.id}`);
    option.value = t.id;
    return option;
  }));
  byId("chosen").textContent = track(chosen) ? `Track ${chosen}` : "none chosen";
  controls();
}
function controls() {
  if (!state) return;
  const t = track(chosen);
  for (const button of byId("actions").querySelectorAll("button, select")) button.disabled = !t;
  for (const button of byId("actions").querySelectorAll("[data-decision]")) {
    button.setAttribute("aria-pressed", String(t?.decision === button.dataset.decision));
  }
  byId("merge").disabled = !t || state.tracks.length < 2;
  byId("undo").disabled = !state.undo;
  byId("save").disabled = state.saved;
  byId("save").textContent = state.saved ? "Saved" : "Save";
  byId("add").disabled = byId("discard").disabled = byId("hold").disabled = !draft.length;
  byId("unmark").disabled = !draft.some((k) => k[0] === now.at);
  byId("play").textContent = playing ? "Pause" : "Play";
  byId("play").setAttribute("aria-pressed", String(playing));
}
function choose(id) {
  chosen = id;
  lists();
  // In the list alone: the picture stays where it is.
  const [list, item] = [byId("tracks"), document.querySelector("#tracks li.chosen")];
  const hidden = item && (item.offsetTop < list.scrollTop || item.offsetTop + item.offsetHeight > list.scrollTop + list.clientHeight);
  if (hidden) list.scrollTop = item.offsetTop;
  draw();
}
function take(news) {
  state = news;
  if (!track(chosen)) chosen = null;
  const { film } = state;
  byId("film").textContent = `${film.name} → ${state.output} · ${film.frames} frames · ${state.tracks_file}`;
  byId("place").min = film.first_s;
  byId("place").max = film.last_s;
  lists();
}

// Rendering.
async function render() {
  if (await post("/render")) await watch();
}
async function watch() {
  for (;;) {
    const r = await (await fetch("/rendering.json")).json();
    const running = r.state === "running";
    byId("rendering").hidden = r.state === "none";
    byId("cancel").hidden = !running;
    byId("render").disabled = running;
    if (r.state === "none") return;
    if (typeof r.share === "number") byId("share").value = r.state === "done" ? 1 : r.share;
    byId("rendered").textContent = running
      ? `rendering: ${r.frames} of ${state.film.frames} frames`
      : [r.state.replaceAll("-", " "), r.error, r.said.at(-1)].filter(Boolean).join(": ");
    if (!running) return;
    await new Promise((done) => setTimeout(done, 300));
  }
}
async function close() {
  const loss = state.saved ? "" : "Edits are not saved. ";
  if (loss && !confirm(`${loss}Close all the same?`)) return;
  if (await post("/close")) {
    state.saved = true;
    playing = false;
    say("Closed. This window can be shut.");
  }
}
addEventListener("beforeunload", (event) => { if (state && !state.saved) event.preventDefault(); });

const decide = (decision) => track(chosen) && edit({ do: "decide", track: chosen, decision }, `Track ${chosen}: ${decision}`);
function other(step) {
  const i = state.tracks.findIndex((t) => t.id === chosen);
  const t = state.tracks[i < 0 ? 0 : Math.min(Math.max(i + step, 0), state.tracks.length - 1)];
  if (t) { choose(t.id); go(`at=${(t.looks[0] ?? { at_s: t.spans[0][1] }).at_s}`); }
}
const acts = {
  back: () => go(`before=${now.at}`),
  step: () => go(`after=${now.at}`),
  play,
  mark: () => put(drafted(now.at) ?? nearest() ?? middle()),
  hold: () => put(nearest()),
  unmark: () => put(null),
  add,
  discard,
  undo: () => state.undo && edit({ do: "undo" }, "Undone"),
  save: async () => { if (await post("/save")) say(`Saved: ${state.tracks_file}`); },
  render,
  cancel: () => post("/cancel"),
  close,
  split: () => track(chosen) && edit({ do: "split", track: chosen, at_s: now.at }, `Track ${chosen} split at ${clock(now.at)}`),
  drop: () => track(chosen) && edit({ do: "drop", track: chosen }, `Track ${chosen} dropped`),
  merge: () => track(chosen) && edit({ do: "merge", into: chosen, other: Number(byId("other").value) }, `Merged into track ${chosen}`),
};
for (const [id, act] of Object.entries(acts)) byId(id).addEventListener("click", act);
for (const button of document.querySelectorAll("[data-decision]")) button.addEventListener("click", () => decide(button.dataset.decision));
byId("place").addEventListener("input", (event) => go(`at=${event.target.value}`));

const keys = {
  " ": acts.play, ",": acts.back, ".": acts.step, n: () => look(suspect + 1), p: () => look(suspect - 1), "[": () => other(-1), "]": () => other(1),
  a: () => decide("anonymise"), c: () => decide("cover"), k: () => decide("keep"),
  s: acts.split, x: acts.drop, m: acts.mark, u: acts.undo, Enter: acts.add, Escape: acts.discard,
};
addEventListener("keydown", (event) => {
  if (!state || event.altKey || event.metaKey) return;
  if (event.ctrlKey) {
    if (event.key !== "s" && event.key !== "z") return;
    event.preventDefault();
    return void (event.key === "s" ? acts.save() : acts.undo());
  }
  const on = event.target.tagName;
  if (on === "SELECT" || (["BUTTON", "SUMMARY"].includes(on) && [" ", "Enter"].includes(event.key))) return;
  if (event.key.startsWith("Arrow")) {
    if (on === "INPUT") return;
    const sideways = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (nudge(event.key, event.shiftKey)) event.preventDefault();
    else if (sideways) go(`at=${Math.max(0, now.at + sideways)}`);
    return;
  }
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

(async () => {
  take(await (await fetch("/state.json")).json());
  await show(`at=${state.film.first_s}`);
  say(state.suspects.length ? "Press n to look at the suspects one by one." : "No suspects. Play the film to look for missed faces.");
  await watch();
})();
