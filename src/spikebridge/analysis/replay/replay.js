"use strict";
// Moves a cursor over replays that are drawn already. Texts are set as text, never as markup.

const FRAME_MS = 40, LONGEST_PLAY = 500, NEAR_PX = 9, MOST_BUTTONS = 24;

const keysOf = new WeakMap(), WITHOUT_FOCUS = [" ", "ArrowLeft", "ArrowRight"];

/** Gives a key to the replay with the focus, or, while nothing has it, to the one in the middle of the window. */
function press(event) {
  let root = event.target.closest(".replay");
  if (!root && event.target === document.body && WITHOUT_FOCUS.includes(event.key)) root = nearestReplay();
  if (root) keysOf.get(root)(event);
}

function nearestReplay() {
  const away = (root) => { const { top, bottom } = root.getBoundingClientRect(), half = innerHeight / 2; return Math.max(top - half, half - bottom, 0); };
  const seen = [...document.querySelectorAll(".replay")].filter((root) => away(root) < innerHeight / 2);
  return seen.sort((a, b) => away(a) - away(b))[0];
}

/** Makes a replay move. Gives functions to stop it and to ask whether its reader looks at an earlier column. */
function start(root, atEnd = false) {
  const data = JSON.parse(root.querySelector("script").textContent);
  const find = (selector) => root.querySelector(selector);
  const slider = find("input"), clock = find("output"), play = find(".play"), detail = find(".detail"), film = data.film;
  const rasters = [...root.querySelectorAll(".plot.raster")].map((plot) => ({ plot, spikes: readSpikes(plot) }));
  const values = [...root.querySelectorAll(".plot.traces")].map((plot) => ({
    lane: data.lanes[plot.dataset.lane], plot, cells: plot.closest(".lane").querySelectorAll(".value"),
  }));
  let at = 0, timer = null, chosen = null;

  function show(column) {
    at = Math.max(0, Math.min(data.columns - 1, column));
    slider.value = at;
    root.style.setProperty("--at", data.columns ? (at + 0.5) / data.columns : 0);
    clock.textContent = timeOf(at);
    slider.setAttribute("aria-valuetext", timeOf(at));
    for (const { lane, cells } of values)
      cells.forEach((cell, k) => { const v = lane.values[k][at]; cell.textContent = v === null || v === undefined ? "–" : v; });
    if (film) showPicture();
    showDetail();
  }

  function timeOf(column) {
    const step = data.numbers[column] ?? 0;
    if (data.dt === null) return `${data.word} ${step}`;
    const seconds = step * data.dt, isShort = data.numbers[data.columns - 1] * data.dt < 2;
    return `${data.word} ${step} · ${Number((isShort ? seconds * 1000 : seconds).toPrecision(6))} ${isShort ? "ms" : "s"}`;
  }

  function showPicture() {
    const svg = find(".film");
    let k = film.begins.length - 1;
    while (k > 0 && film.begins[k] > at) k -= 1;
    if (film.pictures[k]) svg.querySelector("image").setAttribute("href", film.pictures[k]);
    film.boxes.forEach((boxes, b) => {
      const box = boxes[at], rect = svg.querySelector(`.box-${b}`);
      rect.setAttribute("visibility", box ? "visible" : "hidden");
      if (box) ["x", "y", "width", "height"].forEach((name, i) => rect.setAttribute(name, i > 1 ? Math.max(0, box[i]) : box[i]));
    });
    let e = film.eventBegins.length - 1;
    while (e > 0 && film.eventBegins[e] > at) e -= 1;
    const points = film.events[e] || ["", ""];
    svg.querySelector(".event.on").setAttribute("d", points[0]);
    svg.querySelector(".event.off").setAttribute("d", points[1]);
  }

  function showDetail() {
    if (!data.notes.length && !rasters.length) return;
    detail.hidden = false;
    detail.replaceChildren();
    if (data.notes[at]) line(detail, data.notes[at]);
    for (const { plot, spikes } of rasters) {
      const here = spikes.filter((one) => one.begin <= at && at < one.end).sort((a, b) => a.row - b.row);
      const text = line(detail, "");
      text.append(`${rasters.length > 1 ? nameOf(plot) : "Spikes"}: `);
      if (!here.length) text.append("none");
      here.slice(0, MOST_BUTTONS).forEach((one) => text.append(button(plot, at, one.row), " "));
      if (here.length > MOST_BUTTONS) text.append(`and ${here.length - MOST_BUTTONS} more`);
    }
    if (chosen) showChosen();
  }

  function nameOf(plot) { return plot.closest(".lane").querySelector("b").textContent; }
  function neuron(plot, row) { return data.lanes[plot.dataset.lane].names[row]; }

  function button(plot, column, row) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = neuron(plot, row);
    made.addEventListener("click", () => { choose(plot, column, row); detail.querySelector(".chosen").focus(); });
    return made;
  }

  function choose(plot, column, row) {
    stop();
    chosen = { plot, column, row };
    show(column);
  }

  function showChosen() {
    const { plot, column, row } = chosen;
    root.querySelectorAll(".ring, .cause-lines").forEach((one) => one.remove());
    const box = document.createElement("div");
    box.className = "chosen";
    box.tabIndex = -1;
    const reason = plot.dataset.lane === "0" ? data.reasons[`${column} ${row}`] : undefined;
    line(box, `${neuron(plot, row)} at ${timeOf(column)}${reason && reason[0] ? `: ${reason[0]}` : ""}`);
    ring(plot, column, row, "effect");
    if (reason && reason[1].length) {
      const list = box.appendChild(document.createElement("ul"));
      for (const [c, r, fact] of reason[1]) {
        const item = list.appendChild(document.createElement("li"));
        item.append("needed ", button(plot, c, r), ` at ${timeOf(c)}${fact ? `: ${fact}` : ""}`);
        ring(plot, c, r, "cause");
      }
      connect(plot, column, row, reason[1]);
    } else if (Object.keys(data.reasons).length) {
      line(box, reason ? "It came from outside." : "The answer did not need this spike.");
    }
    detail.append(box);
  }

  const rows = (plot) => Number(plot.closest(".rows").style.getPropertyValue("--rows")) || 1;

  function ring(plot, column, row, kind) {
    const mark = plot.appendChild(document.createElement("i"));
    mark.className = `ring ${kind}`;
    mark.style.left = `${(100 * (column + 0.5)) / data.columns}%`;
    mark.style.top = `${(100 * (row + 0.5)) / rows(plot)}%`;
  }

  function connect(plot, column, row, causes) {
    const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg");
    svg.setAttribute("class", "cause-lines");
    svg.setAttribute("viewBox", `0 0 ${data.columns} ${rows(plot)}`);
    svg.setAttribute("preserveAspectRatio", "none");
    for (const [c, r] of causes) {
      const path = svg.appendChild(document.createElementNS(space, "path"));
      path.setAttribute("d", `M${c + 0.5} ${r + 0.5}L${column + 0.5} ${row + 0.5}`);
    }
    plot.append(svg);
  }

  function columnAt(plot, event) {
    const frame = plot.getBoundingClientRect();
    return Math.floor(((event.clientX - frame.left) / frame.width) * data.columns);
  }

  function nearest(plot, spikes, event) {
    const frame = plot.getBoundingClientRect(), wide = frame.width / data.columns, high = frame.height / rows(plot);
    const x = event.clientX - frame.left, y = event.clientY - frame.top;
    let best = null, least = NEAR_PX;
    for (const one of spikes) {
      const left = one.begin * wide, right = one.end * wide, middle = (one.row + 0.5) * high;
      const away = Math.hypot(Math.max(left - x, 0, x - right), Math.max(0, Math.abs(y - middle) - high / 2));
      if (away < least) { least = away; best = one; }
    }
    if (!best) return null;
    return { row: best.row, column: Math.max(best.begin, Math.min(best.end - 1, Math.floor(x / wide))) };
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶";
    play.setAttribute("aria-label", "play");
  }

  function toggle() {
    if (timer) { stop(); return; }
    if (at >= data.columns - 1) show(0);
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "pause");
    const stride = Math.max(1, Math.round(data.columns / LONGEST_PLAY)), each = Math.max(FRAME_MS, 4000 / data.columns);
    timer = setInterval(() => { if (at >= data.columns - 1) stop(); else show(at + stride); }, each);
  }

  function move(column) { stop(); show(column); }

  slider.addEventListener("input", () => move(Number(slider.value)));
  play.addEventListener("click", toggle);
  find(".back").addEventListener("click", () => move(at - 1));
  find(".forth").addEventListener("click", () => move(at + 1));
  const moves = {
    " ": toggle, ArrowRight: () => move(at + 1), ArrowLeft: () => move(at - 1), Home: () => move(0), End: () => move(data.columns - 1),
  };
  // a slider moves by itself, and space presses a button
  const isFree = (key, target) => (target === slider ? key === " " : key !== " " || target.tagName !== "BUTTON");
  keysOf.set(root, (event) => {
    if (!moves[event.key] || !isFree(event.key, event.target) || event.altKey || event.ctrlKey || event.metaKey) return;
    moves[event.key]();
    event.preventDefault();
  });
  for (const plot of root.querySelectorAll(".plot")) {
    plot.append(Object.assign(document.createElement("i"), { className: "cursor" }));
    const raster = rasters.find((one) => one.plot === plot);
    plot.addEventListener("click", (event) => {
      const spike = raster && nearest(plot, raster.spikes, event);
      if (spike) choose(plot, spike.column, spike.row); else move(columnAt(plot, event));
    });
    if (!raster) plot.addEventListener("pointermove", (event) => { if (event.buttons & 1) move(columnAt(plot, event)); });
  }
  if (data.columns) find(".controls").hidden = false;
  show(atEnd ? data.columns - 1 : 0);
  return { stop, looksBack: () => timer !== null || at < data.columns - 1 };
}

/** The spikes of a raster from what is drawn: `M column row h length`. */
function readSpikes(plot) {
  const found = [];
  for (const path of plot.querySelectorAll("path.spikes"))
    for (const [, begin, row, length] of path.getAttribute("d").matchAll(/M([\d.]+) (\d+)h([\d.]+)/g))
      found.push({ begin: Math.floor(begin), end: Math.ceil(Number(begin) + Number(length)), row: Number(row) });
  return found;
}

function line(parent, text) {
  const made = parent.appendChild(document.createElement("p"));
  made.textContent = text;
  return made;
}

/** Follows a stream: each message is the newest replay, and takes the place of the one before. */
function follow(frame) {
  const state = frame.querySelector(".state"), source = new EventSource(frame.dataset.events);
  let live = null, over = false;
  source.onmessage = (event) => {
    if (live && live.looksBack()) { state.textContent = "paused; move to the end to follow"; return; }
    const message = JSON.parse(event.data);
    state.textContent = message.state;
    if (live) live.stop();
    frame.querySelector(".stream").innerHTML = message.replay;
    live = start(frame.querySelector(".replay"), true);
    if (message.ended) { over = true; source.close(); }
  };
  source.onerror = () => { if (!over) state.textContent = "the stream has ended"; source.close(); };
}

document.querySelectorAll(".replay").forEach((root) => start(root));
document.querySelectorAll("[data-events]").forEach(follow);
document.addEventListener("keydown", press);
