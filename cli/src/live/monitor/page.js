"use strict";
// The monitor page: asks for pictures and for the state, and draws them. All texts from outside are
// set as text, never as markup.
const byId = (id) => document.getElementById(id);
const RUNGS = ["full", "cached", "prior", "solid", "frame"];
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function pictures() {
  const image = byId("picture");
  let seen = 0;
  for (;;) {
    try {
      const reply = await fetch(`/picture.jpg?after=${seen}`);
      if (reply.ok) {
        seen = Number(reply.headers.get("X-Picture"));
        const old = image.src;
        image.src = URL.createObjectURL(await reply.blob());
        // Until it can be drawn the one before is needed.
        await image.decode();
        if (old) URL.revokeObjectURL(old);
        continue;
      }
    } catch { /* the session ended or is starting: ask again */ }
    await pause(500);
  }
}

function graph(canvas, history, lines, top) {
  const g = canvas.getContext("2d");
  // As many pixels as the screen has there, so that numbers can be read at any width; this clears it too.
  const { clientWidth: width, clientHeight: height } = canvas;
  [canvas.width, canvas.height] = [width * devicePixelRatio, height * devicePixelRatio];
  g.scale(devicePixelRatio, devicePixelRatio);
  g.strokeStyle = "#343b41";
  g.fillStyle = "#98a2ab";
  g.font = "11px system-ui";
  for (const share of [0.5, 1]) {
    const y = height - share * (height - 14) - 1;
    g.beginPath(); g.moveTo(0, y); g.lineTo(width, y); g.stroke();
    g.fillText(String(Math.round(top * share)), 2, y - 2 < 10 ? y + 11 : y - 2);
  }
  const step = width / Math.max(history.length - 1, 30);
  for (const { colour, value } of lines) {
    g.strokeStyle = colour;
    g.lineWidth = 2;
    g.beginPath();
    history.forEach((second, i) => {
      const y = height - (Math.min(value(second), top) / top) * (height - 14) - 1;
      i ? g.lineTo(i * step, y) : g.moveTo(0, y);
    });
    g.stroke();
  }
}

const SWITCHES = {
  on: "Treat track N as all others",
  cover: "Cover track N with one colour",
  off: "Leave track N as it is: the person will be seen",
};

function card(track, allowKeep) {
  const item = document.createElement("li");
  item.classList.toggle("gone", !track.here);
  item.classList.toggle("covered", track.switch === "cover");
  item.classList.toggle("kept", track.switch === "off");
  const row = document.createElement("div");
  row.className = "row";
  const name = document.createElement("strong");
  name.textContent = `Track ${track.track}`;
  const switches = document.createElement("span");
  for (const [word, meaning] of Object.entries(SWITCHES)) {
    if (word === "off" && !allowKeep) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = word;
    button.setAttribute("aria-pressed", String(track.switch === word));
    button.setAttribute("aria-label", meaning.replace("N", track.track));
    button.addEventListener("click", async () => {
      await fetch(`/tracks/${track.track}`, { method: "POST", body: JSON.stringify({ switch: word }) });
      await state();
    });
    switches.append(button);
  }
  row.append(name, switches);
  const what = document.createElement("small");
  what.textContent = [track.here ? null : "gone", track.outcome, track.rung, track.reason,
    typeof track.cos !== "number" ? null : `cos ${track.cos.toFixed(2)}`].filter(Boolean).join(" · ");
  const where = document.createElement("small");
  where.textContent = `${Math.round(track.width)}×${Math.round(track.height)} px at ${Math.round(track.x)}, ${Math.round(track.y)}`;
  item.append(row, what, where);
  return item;
}

async function state() {
  const now = await (await fetch("/state.json")).json();
  byId("line").textContent = now.line;
  const withheld = byId("withheld");
  withheld.hidden = !now.withheld;
  withheld.textContent = now.withheld ? `Frame covered: ${now.withheld}` : "";
  const tracks = now.tracks.sort((a, b) => b.here - a.here || b.track - a.track);
  byId("tracks").replaceChildren(...tracks.map((track) => card(track, now.allow_keep)));
  byId("keep").hidden = !now.allow_keep;
  const places = [{ name: "source", state: now.source }, ...now.sinks];
  byId("places").replaceChildren(...places.map(({ name, state }) => {
    const item = document.createElement("li");
    item.classList.toggle("gone", state !== "playing");
    item.textContent = `${name}: ${state}`;
    return item;
  }));
  const top = Math.max(50, ...now.history.map((s) => s.p95_ms));
  graph(byId("delay"), now.history, [
    { colour: "#6fb1ff", value: (s) => s.p50_ms },
    { colour: "#ffb454", value: (s) => s.p95_ms },
  ], top);
  const fast = Math.max(30, ...now.history.map((s) => s.fps_in));
  graph(byId("rung"), now.history, [
    { colour: "#7bd88f", value: (s) => (1 - Math.max(0, RUNGS.indexOf(s.rung)) / (RUNGS.length - 1)) * fast },
    { colour: "#6fb1ff", value: (s) => s.fps_in },
    { colour: "#ffb454", value: (s) => s.fps_out },
  ], fast);
}

async function states() {
  for (;;) {
    try { await state(); } catch { byId("line").textContent = "the session does not answer"; }
    await pause(500);
  }
}

pictures();
states();
