"use strict";
// The picture of the review page: frames, playing, boxes over them, and a missed face being marked. Shares its names
// with page.js, which is loaded after it and begins all.
const byId = (id) => document.getElementById(id);
const COLOURS = { anonymise: "#6fb1ff", cover: "#ff7b72", keep: "#ffd166" };
const CLICK_PX = 4;
const picture = byId("picture");

let now = { at: 0, next: null, bitmap: null, boxes: [], withheld: false };
let draft = []; // [seconds, left, top, right, bottom] by time
let drag = null;
let playing = false;

// Frames: one request at a time, the last wish counts.
let wish = null;
let asking = null;
function show(query) {
  wish = query;
  asking ??= (async () => {
    while (wish !== null) {
      const query = wish;
      wish = null;
      await frame(query).catch((e) => say(String(e), true));
    }
    asking = null;
  })();
  return asking;
}
async function frame(query) {
  const reply = await fetch(`/frame.jpg?${query}`);
  if (!reply.ok) throw new Error(await reply.text());
  const next = reply.headers.get("X-Next");
  const bitmap = await createImageBitmap(await reply.blob());
  now.bitmap?.close();
  now = { ...now, at: Number(reply.headers.get("X-At")), next: next === null ? null : Number(next), bitmap };
  picture.width = bitmap.width;
  picture.height = bitmap.height;
  await boxes();
}
async function boxes() {
  const there = await (await fetch(`/boxes.json?at=${now.at}`)).json();
  now.boxes = there.boxes;
  now.withheld = there.withheld;
  draw();
}
async function play() {
  playing = !playing;
  controls();
  while (playing) {
    if (now.next === null) playing = false;
    else {
      const due = performance.now() + (now.next - now.at) * 1000;
      await show(`after=${now.at}`);
      await new Promise((done) => setTimeout(done, Math.max(0, due - performance.now())));
    }
  }
  controls();
}
function go(query) {
  playing = false;
  return show(query);
}

// The picture: film px → canvas px.
const scale = () => [picture.width / state.film.width_px, picture.height / state.film.height_px];
function box(g, [x0, y0, x1, y1], colour, words, dashed) {
  const [sx, sy] = scale();
  g.strokeStyle = g.fillStyle = colour;
  g.setLineDash(dashed ? [8, 6] : []);
  g.strokeRect(x0 * sx, y0 * sy, (x1 - x0) * sx, (y1 - y0) * sy);
  const y = Math.max(y0 * sy, g.measureText(words).fontBoundingBoxAscent + 4);
  g.fillText(words, Math.max(2, x0 * sx), y - 4);
}
function draw() {
  if (!state || !now.bitmap) return;
  const g = picture.getContext("2d");
  g.drawImage(now.bitmap, 0, 0);
  const line = Math.max(1, picture.width / 400);
  g.font = `600 ${Math.max(12, picture.width / 48)}px system-ui`;
  g.shadowColor = "#000";
  g.shadowBlur = 4;
  for (const b of now.boxes) {
    g.lineWidth = b.track === chosen ? 2.4 * line : line;
    const word = b.origin === "filled" ? "not seen" : b.decision === "anonymise" ? "" : b.decision;
    box(g, b.box_px, COLOURS[b.decision], `${b.track} ${word}`, b.origin === "filled");
  }
  const mark = drag?.box ?? drafted(now.at);
  g.lineWidth = 2 * line;
  if (mark) box(g, mark, "#7bd88f", "missed face", false);
  if (now.withheld) {
    g.fillStyle = "#ff7b72";
    g.fillText("this frame will be covered whole", 8, picture.height - 10);
  }
  const { first_s, last_s } = state.film;
  byId("place").value = now.at;
  byId("place").setAttribute("aria-valuetext", clock(now.at));
  byId("time").textContent = `${clock(now.at)} of ${clock(last_s)}`;
  byId("strip").style.setProperty("--now", `${(100 * (now.at - first_s)) / Math.max(last_s - first_s, 1e-9)}%`);
  controls();
}
function pointed(event) {
  const area = picture.getBoundingClientRect();
  const inside = (v, size) => Math.min(Math.max(v, 0), size);
  return [
    inside(((event.clientX - area.left) / area.width) * state.film.width_px, state.film.width_px),
    inside(((event.clientY - area.top) / area.height) * state.film.height_px, state.film.height_px),
  ];
}
picture.addEventListener("pointerdown", (event) => {
  if (!now.bitmap || event.button !== 0) return;
  playing = false;
  picture.setPointerCapture(event.pointerId);
  drag = { from: pointed(event), x: event.clientX, y: event.clientY, box: null };
});
picture.addEventListener("pointermove", (event) => {
  if (!drag || (!drag.box && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) < CLICK_PX)) return;
  const [[ax, ay], [bx, by]] = [drag.from, pointed(event)];
  drag.box = [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
  draw();
});
picture.addEventListener("pointerup", () => {
  if (drag?.box) put(drag.box);
  else if (drag) {
    const [x, y] = drag.from;
    const hit = now.boxes.filter(({ box_px: b }) => b[0] <= x && x <= b[2] && b[1] <= y && y <= b[3]);
    if (hit.length) choose(hit[(hit.findIndex((b) => b.track === chosen) + 1) % hit.length].track);
  }
  drag = null;
  draw();
});
picture.addEventListener("pointercancel", () => { drag = null; draw(); });

// A missed face being marked. What is shown between the boxes is what the server will make of them.
function drafted(at) {
  const after = draft.findIndex((k) => k[0] >= at);
  if (after < 0) return null;
  if (draft[after][0] === at) return draft[after].slice(1);
  if (after === 0) return null;
  const [a, b] = [draft[after - 1], draft[after]];
  const share = (at - a[0]) / (b[0] - a[0]);
  return [1, 2, 3, 4].map((i) => a[i] + (b[i] - a[i]) * share);
}
function put(corners) {
  draft = draft.filter((k) => k[0] !== now.at);
  if (corners) draft.push([now.at, ...corners.map((v) => Math.round(v * 10) / 10)]);
  draft.sort((a, b) => a[0] - b[0]);
  const [first, last] = [draft[0], draft.at(-1)];
  byId("draft").textContent = !first
    ? "Drag a box over it here and at one or more later moments; between them it moves evenly."
    : first === last
      ? `One box, at ${clock(first[0])}. Go to another moment and drag again.`
      : `${draft.length} boxes, from ${clock(first[0])} to ${clock(last[0])}: ${draft.map((k) => clock(k[0])).join(", ")}.`;
  draw();
}
function nearest() {
  const [near] = [...draft].sort((a, b) => Math.abs(a[0] - now.at) - Math.abs(b[0] - now.at));
  return near?.slice(1);
}
function middle() {
  const { width_px: w, height_px: h } = state.film;
  const side = Math.min(w, h) / 4;
  return [(w - side) / 2, (h - side) / 2, (w + side) / 2, (h + side) / 2];
}
function nudge(key, size) {
  const here = drafted(now.at);
  if (!here) return false;
  const by = Math.max(1, state.film.width_px / 100);
  const [dx, dy] = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] }[key];
  const moved = [here[0] + (size ? 0 : dx), here[1] + (size ? 0 : dy), here[2] + dx, here[3] + dy];
  if (moved[2] - moved[0] >= 2 && moved[3] - moved[1] >= 2) put(moved);
  return true;
}
function discard() {
  draft = [];
  put(null);
}
async function add() {
  if (!draft.length) return;
  const id = Math.max(-1, ...state.tracks.map((t) => t.id)) + 1;
  if (await post("/edit", { do: "add", keys: draft })) {
    say(`Track ${id} added`);
    discard();
    choose(id);
    await boxes();
  }
}
