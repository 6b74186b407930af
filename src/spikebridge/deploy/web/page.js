"use strict";
// Draws what the worker sends, and sends it what a visitor does. Texts from outside are text, never markup.

const COLUMNS = 240; // of a lane
const LANE_HEIGHT = 5; // px of a row, within limits
const WAVE = 0x46464952; // "RIFF"

const page = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const words = (text) => { at("words").textContent = text; };

function make(tag, options = {}, children = []) {
  const { dataset, ...rest } = options;
  const element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
}

const KINDS = { int8_t: Int8Array, uint8_t: Uint8Array, int16_t: Int16Array, int32_t: Int32Array, int64_t: BigInt64Array };

function plainData() {
  const { modules, ...rest } = page;
  const streams = page.sample.streams.map((networks) => networks.map((inputs) =>
    Object.entries(inputs).map(([name, one]) => [name, new KINDS[one.type](fromBase64(one.base64).buffer)])));
  return { ...rest, sample: { ...page.sample, streams }, examples };
}

const examples = page.examples.map((one) => Float32Array.from(fromBase64(one), (value) => value / 255));

// ---- the worker

let worker = null;
let opened = false;
let source = null;
let turn = 0; // of the sources; what the worker says of the one before comes late
let shown = 0;

async function open() {
  if (typeof WebAssembly === "undefined" || typeof Worker === "undefined") {
    words("This browser has no WebAssembly, in which the network runs. A browser of 2018 or later has it.");
    return;
  }
  const text = at("worker")?.textContent;
  worker = new Worker(text ? URL.createObjectURL(new Blob([text], { type: "text/javascript" })) : "worker.js");
  worker.onmessage = ({ data }) => (data.opened ? begin() : take(data));
  worker.onerror = () => words("The network could not be started in this browser.");
  try {
    const modules = await Promise.all(page.modules.map(async (one) =>
      one.base64 ? fromBase64(one.base64).buffer : (await fetch(one.url)).arrayBuffer()));
    worker.postMessage({ open: { page: plainData(), modules } });
  } catch {
    words("The files of the page could not be read. A folder is for a web server: python -m http.server");
  }
}

function begin() {
  opened = true;
  for (const slider of page.sliders) worker.postMessage({ setting: [slider.name, slider.value] });
  const first = { drawing: "drawing", tasks: "tasks" }[page.kind] ?? "sample";
  choose(first);
}

function endSource() {
  source = null;
  turn += 1;
  waiting = [];
  clearLanes();
  clearAnswers();
  at("tick").textContent = "";
  worker.postMessage({ source });
}

function send(next) {
  endSource();
  source = next.kind;
  worker.postMessage({ source: { ...next, turn } });
  setPlaying(true);
}

// ---- sources

const SOURCES = {
  drawing: { label: "Draw", show: showDrawing },
  tasks: { label: "Tasks", show: showTasks },
  microphone: { label: "Microphone", show: showMicrophone },
  phone: { label: "This device's motion", show: showPhone },
  file: { label: "File", show: showFile },
  sample: { label: "Sample", show: showSample },
};

function sourcesOf() {
  const series = page.front && ["sound", "motion"].includes(page.kind);
  const inputs = page.networks[0].inputs;
  return [
    ...(page.kind === "drawing" ? ["drawing"] : []),
    ...(page.kind === "tasks" ? ["tasks"] : []),
    ...(page.kind === "sound" ? ["microphone"] : []),
    ...(page.kind === "motion" && page.hasPhone ? ["phone"] : []),
    ...(series || (!page.front && inputs.length === 1) ? ["file"] : []),
    "sample",
  ];
}

let stop = () => {};

function choose(name) {
  stop();
  stop = () => {};
  endSource();
  words("");
  for (const button of at("sources").children) button.setAttribute("aria-pressed", String(button.dataset.name === name));
  at("controls").replaceChildren();
  SOURCES[name].show();
}

for (const name of sourcesOf()) {
  const button = make("button", { type: "button", textContent: SOURCES[name].label, dataset: { name } });
  button.setAttribute("aria-pressed", "false");
  button.onclick = () => opened && choose(name);
  at("sources").append(button);
}

const note = (text) => make("p", { className: "note", textContent: text });

function showSample() {
  const number = page.sample.streams.length;
  const seconds = (page.sample.ticks * page.dt).toPrecision(2);
  at("controls").append(note(`The sample that came with the network: ${number} of ${seconds} s, one after the other.`));
  const recorded = [...new Set(page.networks.flatMap((network) => network.recorded))];
  if (recorded.length) at("controls").append(note(`${recorded.join(" and ")} stay in floating point: their signals are recorded.`));
  send({ kind: "sample" });
}

// ---- a drawing before the camera

function showDrawing() {
  const [rows, columns] = page.grid;
  const pad = make("canvas", { width: columns, height: rows, className: "draw", tabIndex: 0 });
  pad.setAttribute("role", "application");
  pad.setAttribute("aria-label", "drawing: arrow keys move the pen, space sets it down or lifts it");
  const paint = pad.getContext("2d", { willReadFrequently: true });
  const seen = make("canvas", { id: "seen", width: 1, height: 1 });
  seen.setAttribute("aria-label", "what the camera sees");
  const pen = { x: columns / 2, y: rows / 2, down: false };

  const post = () => {
    const pixels = paint.getImageData(0, 0, columns, rows).data;
    const drawing = Float32Array.from({ length: rows * columns }, (_, place) => pixels[4 * place] / 255);
    worker.postMessage({ drawing });
    return drawing;
  };
  const clear = () => { paint.fillStyle = "#000"; paint.fillRect(0, 0, columns, rows); };
  const line = (x, y) => {
    Object.assign(paint, { strokeStyle: "#fff", lineWidth: rows / 8, lineCap: "round", lineJoin: "round" });
    paint.beginPath();
    paint.moveTo(pen.x, pen.y);
    paint.lineTo(x, y + 0.01);
    paint.stroke();
    Object.assign(pen, { x, y });
    post();
  };
  const example = (index) => paintImage(pad, (place) => grey(examples[index][place]));
  const place = (event) => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) * columns) / box.width, ((event.clientY - box.top) * rows) / box.height];
  };

  let fresh = true; // an example is wiped away by the first stroke
  const startStroke = () => { if (fresh) clear(); fresh = false; };
  pad.onpointerdown = (event) => {
    pad.setPointerCapture(event.pointerId);
    startStroke();
    [pen.x, pen.y] = place(event);
    pen.down = true;
    line(pen.x, pen.y);
  };
  pad.onpointermove = (event) => { if (pen.down && event.buttons) line(...place(event)); };
  pad.onpointerup = () => { pen.down = false; };
  pad.onkeydown = (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === " ") { pen.down = !pen.down; if (pen.down) { startStroke(); line(pen.x, pen.y); } }
    else if (!way) return;
    else {
      const x = Math.min(columns, Math.max(0, pen.x + way[0]));
      const y = Math.min(rows, Math.max(0, pen.y + way[1]));
      if (pen.down) line(x, y); else Object.assign(pen, { x, y });
    }
    event.preventDefault();
  };

  const wipe = make("button", { type: "button", textContent: "Clear", onclick: () => { clear(); fresh = false; post(); } });
  const choices = make("select", { onchange: () => { example(choices.selectedIndex); fresh = true; post(); } },
    examples.map((_, index) => make("option", { textContent: page.classes[index] ?? String(index) })));
  const label = make("label", { textContent: "Example " });
  label.append(choices);
  at("controls").append(
    make("div", { className: "pad" }, [
      make("figure", {}, [pad, make("figcaption", { textContent: "Draw here; fill the square." })]),
      make("figure", {}, [seen, make("figcaption", { textContent: "The camera: frame, events." })]),
    ]),
    make("div", { className: "buttons" }, examples.length ? [wipe, label] : [wipe]),
    ...page.sliders.map(sliderOf),
  );
  clear();
  if (examples.length) { choices.selectedIndex = Math.min(3, examples.length - 1); example(choices.selectedIndex); }
  send({ kind: "drawing", drawing: post() });
}

function sliderOf(slider) {
  const value = make("output", { className: "values", textContent: slider.value.toFixed(2) });
  const input = make("input", { type: "range", min: 0, max: slider.high, step: slider.high / 50, value: slider.value });
  input.setAttribute("aria-label", slider.label);
  input.oninput = () => {
    slider.value = Number(input.value);
    value.textContent = slider.value.toFixed(2);
    worker.postMessage({ setting: [slider.name, slider.value] });
  };
  return make("div", { className: "slider" }, [make("span", { textContent: slider.label }), input, value]);
}

function showSeen(outputs) {
  const canvas = at("seen");
  const frame = outputs.find((one) => one.name === "frames")?.values;
  const events = outputs.find((one) => one.name === "events")?.values;
  if (!canvas || !frame || !events) return;
  const size = Math.round(Math.sqrt(frame.length));
  if (canvas.width !== size) Object.assign(canvas, { width: size, height: size });
  const [on, off] = ["--on", "--off"].map(colourOf);
  paintImage(canvas, (place) => (events[place] ? on : events[size * size + place] ? off : grey(0.6 * frame[place])));
}

const grey = (value) => [255 * value, 255 * value, 255 * value];

function paintImage(canvas, colourAt) {
  const paint = canvas.getContext("2d");
  const image = paint.createImageData(canvas.width, canvas.height);
  for (let place = 0; place < canvas.width * canvas.height; place++) image.data.set([...colourAt(place), 255], 4 * place);
  paint.putImageData(image, 0, 0);
}

// ---- tasks

function showTasks() {
  const side = Math.round(Math.sqrt(examples[0].length));
  const canvas = make("canvas", { id: "seen", width: side, height: side });
  canvas.setAttribute("aria-label", "the picture of the task");
  const buttons = page.tasks.map((_, task) => {
    const button = make("button", { type: "button", textContent: String(task + 1) });
    button.setAttribute("aria-label", `task ${task + 1}`);
    button.onclick = () => { worker.postMessage({ task }); press(task); };
    return button;
  });
  const press = (task) => buttons.forEach((one, index) => one.setAttribute("aria-pressed", String(index === task)));
  at("controls").append(
    make("div", { className: "buttons" }, [make("span", { textContent: "Task" }), ...buttons]),
    make("div", { className: "pad" }, [make("figure", {}, [canvas,
      make("figcaption", { textContent: "The picture as the task orders its pixels." })])]),
    note(`Shown ${page.slowdown} times slower than the network's own clock.`),
  );
  press(0);
  send({ kind: "tasks", task: 0 });
}

function showPicture(values) {
  if (at("seen")) paintImage(at("seen"), (place) => grey(values[place]));
}

// ---- sound, motion, files

const ratesOf = () => [page.rate, ...page.front.rates.map((one) => one.rate).filter(Boolean)].sort((a, b) => a - b);
const hertz = (rate) => `${rate.toLocaleString("en")} Hz`;

function unknownRate(what, rate) {
  return `${what} has ${hertz(rate)}; this page takes ${ratesOf().map(hertz).join(", ")}.`;
}

function streamOf(rate) {
  return { kind: "blocks", rate, chunks: [], left: 0, closed: false };
}

function showMicrophone() {
  const button = make("button", { type: "button", textContent: "Start the microphone" });
  button.onclick = async () => {
    try {
      if (!navigator.mediaDevices) {
        words("This browser gives a page of this address no microphone: serve it over https or from localhost, or choose a WAV file.");
        return;
      }
      await listen();
      button.textContent = "The microphone runs";
    } catch (error) {
      const reasons = { NotAllowedError: "The microphone was not allowed; choose a WAV file, or allow it in the browser's settings.",
        NotFoundError: "There is no microphone; choose a WAV file." };
      words(reasons[error.name] ?? `The microphone could not be started (${error.name}); choose a WAV file.`);
    }
  };
  at("controls").append(button, note(`The network takes ${hertz(page.rate)}; other rates are resampled in the module, and the page says so.`));
}

const TAP = `registerProcessor("tap", class extends AudioWorkletProcessor {
  process([[input]]) { if (input) this.port.postMessage(input.slice()); return true; }
});`;

async function tapOf(context, give) {
  try {
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([TAP], { type: "text/javascript" })));
    const tap = new AudioWorkletNode(context, "tap");
    tap.port.onmessage = ({ data }) => give(data);
    return tap;
  } catch {
    // Chromium loads no worklet of a page that is a file; this node runs where it is connected to an output
    const tap = context.createScriptProcessor(1024, 1, 1);
    tap.onaudioprocess = ({ inputBuffer }) => give(inputBuffer.getChannelData(0).slice());
    tap.connect(context.destination);
    return tap;
  }
}

async function listen() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, autoGainControl: false } });
  const context = new AudioContext();
  stop = () => { stream.getTracks().forEach((track) => track.stop()); context.close(); };
  if (!ratesOf().includes(context.sampleRate)) { stop(); words(unknownRate("The microphone", context.sampleRate)); return; }
  const tap = await tapOf(context, (samples) => worker.postMessage({ samples }, [samples.buffer]));
  context.createMediaStreamSource(stream).connect(tap);
  send(streamOf(context.sampleRate));
  if (context.sampleRate !== page.rate) words(`The microphone is resampled from ${hertz(context.sampleRate)} to ${hertz(page.rate)}.`);
}

function showPhone() {
  const button = make("button", { type: "button", textContent: "Start" });
  button.onclick = async () => {
    if (typeof DeviceMotionEvent === "undefined") { words("This browser gives no motion of the device; choose a CSV file."); return; }
    if (DeviceMotionEvent.requestPermission && (await DeviceMotionEvent.requestPermission().catch(() => "")) !== "granted") {
      words("The motion sensor was not allowed; choose a CSV file.");
      return;
    }
    startPhone();
  };
  at("controls").append(button, note(`Acceleration and rotation, ${hertz(page.rate)}. A sensor on a wrist sits otherwise than a phone in a hand.`));
}

function startPhone() {
  let newest = null;
  const read = ({ accelerationIncludingGravity: a, rotationRate: w }) => {
    if (a && a.x !== null) newest = [a.x, a.y, a.z, w?.alpha ?? 0, w?.beta ?? 0, w?.gamma ?? 0];
  };
  addEventListener("devicemotion", read);
  let sent = 0;
  const began = performance.now();
  const clock = setInterval(() => {
    // the newest value at each step of the network's own clock
    const due = Math.floor(((performance.now() - began) * page.rate) / 1000) - sent;
    if (!newest || document.hidden) { sent += due; return; }
    const samples = new Float32Array(due * newest.length);
    for (let step = 0; step < due; step++) samples.set(newest, step * newest.length);
    sent += due;
    if (due > 0) worker.postMessage({ samples });
  }, 20);
  const silent = setTimeout(() => { if (!newest) words("This device sends no motion; choose a CSV file."); }, 1500);
  stop = () => { removeEventListener("devicemotion", read); clearInterval(clock); clearTimeout(silent); };
  send(streamOf(0));
}

function showFile() {
  const kind = page.kind === "sound" ? "WAV" : "CSV";
  const size = page.front ? page.channels.length : page.networks[0].inputs[0].size;
  const input = make("input", { type: "file", accept: kind === "WAV" ? ".wav" : ".csv,.txt" });
  input.setAttribute("aria-label", `a ${kind} file`);
  input.onchange = () => input.files[0] && readFile(input.files[0]);
  const label = make("label", { className: "file", textContent: `Choose a ${kind} file` });
  label.append(input);
  const columns = page.channels.length ? `: ${page.channels.join(", ")}` : "";
  const rate = page.rate ? `, ${hertz(page.rate)}` : `, every ${+(page.dt * page.networks[0].inputs[0].period * 1e3).toPrecision(4)} ms`;
  at("controls").append(label, note(kind === "WAV" ? `One channel, ${ratesOf().map(hertz).join(", ")}. You can also drop it on the page.`
    : `${size} numbers a line${columns}${rate}; a first line with names is skipped. You can also drop it on the page.`));
}

async function readFile(file) {
  try {
    const content = await file.arrayBuffer();
    if (page.kind === "sound") playWav(file.name, content);
    else playRows(file.name, new TextDecoder().decode(content));
  } catch (error) {
    words(error instanceof Refusal ? error.message : `${file.name} could not be read.`);
  }
}

class Refusal extends Error {}

document.ondragover = (event) => event.preventDefault();
document.ondrop = (event) => {
  event.preventDefault();
  const file = event.dataTransfer.files[0];
  if (file && opened && sourcesOf().includes("file")) { choose("file"); readFile(file); }
};

function playWav(name, content) {
  const view = new DataView(content);
  if (content.byteLength < 44 || view.getUint32(0, true) !== WAVE) throw new Refusal(`${name} is no WAV file.`);
  const { rate, samples } = wavSamples(name, view);
  if (!ratesOf().includes(rate)) throw new Refusal(unknownRate(name, rate));
  send({ ...streamOf(rate), chunks: [samples], left: samples.length, closed: true });
  words(rate === page.rate ? `${name} plays.` : `${name} plays, resampled from ${hertz(rate)} to ${hertz(page.rate)}.`);
}

function wavSamples(name, view) {
  let format = null;
  for (let place = 12; place + 8 <= view.byteLength;) {
    const id = String.fromCharCode(...new Uint8Array(view.buffer, place, 4));
    const size = Math.min(view.getUint32(place + 4, true), view.byteLength - place - 8);
    if (id === "fmt ") {
      const code = view.getUint16(place + 8, true);
      format = { code: code === 0xfffe && size >= 26 ? view.getUint16(place + 32, true) : code, channels: view.getUint16(place + 10, true),
        rate: view.getUint32(place + 12, true), bits: view.getUint16(place + 22, true) };
    }
    if (id === "data" && format) return { rate: format.rate, samples: decoded(name, view, place + 8, size, format) };
    place += 8 + size + (size % 2);
  }
  throw new Refusal(`${name} holds no samples.`);
}

function decoded(name, view, start, size, { code, channels, bits }) {
  if (channels !== 1) throw new Refusal(`${name} has ${channels} channels; the network takes one, and nothing is mixed down.`);
  const readers = {
    "1-8": (at) => (view.getUint8(at) - 128) / 128,
    "1-16": (at) => view.getInt16(at, true) / 32768,
    "1-24": (at) => ((view.getUint8(at + 2) << 24) | (view.getUint8(at + 1) << 16) | (view.getUint8(at) << 8)) / 2147483648,
    "1-32": (at) => view.getInt32(at, true) / 2147483648,
    "3-32": (at) => view.getFloat32(at, true),
  };
  const read = readers[`${code}-${bits}`];
  if (!read) throw new Refusal(`${name} is a WAV of ${bits} bits in an encoding that this page does not read; save it as PCM.`);
  const samples = Float32Array.from({ length: Math.floor((size * 8) / bits) }, (_, place) => read(start + (place * bits) / 8));
  if (!samples.every(Number.isFinite)) throw new Refusal(`${name} holds samples that are no numbers.`);
  return samples;
}

function playRows(name, text) {
  const port = page.networks[0].inputs[0];
  const size = page.front ? page.channels.length : port.size;
  const lines = text.split(/\r?\n/).map((line, number) => [number + 1, line.trim()]).filter(([, line]) => line);
  const cellsOf = (line) => line.split(/[,;\t]/).map((cell) => (cell.trim() === "" ? NaN : Number(cell)));
  if (lines.length && cellsOf(lines[0][1]).every(Number.isNaN)) lines.shift();
  if (!lines.length) throw new Refusal(`${name} holds no numbers.`);
  const rows = new Float32Array(lines.length * size);
  lines.forEach(([number, line], index) => {
    const cells = cellsOf(line);
    if (cells.length !== size) throw new Refusal(`${name}, line ${number}: ${cells.length} numbers, but the network takes ${size}.`);
    const hole = cells.findIndex((cell) => !Number.isFinite(cell));
    if (hole >= 0) throw new Refusal(`${name}, line ${number}: column ${hole + 1} holds no number; nothing is filled in.`);
    rows.set(cells, index * size);
  });
  words(`${name} plays.`);
  if (page.front) send({ ...streamOf(page.rate), chunks: [rows], left: rows.length, closed: true });
  else send({ kind: "rows", name: port.name, rows });
}

// ---- answers

const answers = page.networks.map((network, index) => {
  const value = make("output", { textContent: "…" });
  value.setAttribute("aria-label", `answer of ${network.name}`);
  const energy = make("span", { className: "values" });
  const many = page.classes.some((name) => name.length > 3);
  const size = network.answer?.size ?? 0;
  const bars = Array.from({ length: size }, (_, place) => {
    const name = make("span", { textContent: page.classes[place] ?? String(place) });
    const bar = make("i");
    return { bar, box: make("div", { className: "bar" }, many ? [name, bar] : [bar, name]) };
  });
  const list = make("div", { className: many ? "bars listed" : "bars" }, bars.map((one) => one.box));
  list.setAttribute("aria-hidden", "true");
  const plain = make("p", { className: "values" });
  const title = make("b", { textContent: network.name, title: network.about });
  at("answers").append(make("div", { className: "answer" }, [
    make("div", { className: "answer-head" }, [title, make("span", { className: "values", textContent: network.about }), energy]),
    ...(size ? [value, list] : [plain]),
  ]));
  return { value, energy, bars, plain, many, last: null };
});
at("energy-note").textContent = `Energy: additions, products and updates that were counted in the network, at the prices of ${page.prices.source}. `
  + "Moving data is not counted, nor is the front end.";

const joules = (value) => {
  const [size, unit] = [[1e-3, "mJ"], [1e-6, "µJ"], [1e-9, "nJ"], [1e-12, "pJ"]].find(([least]) => value >= least) ?? [1e-12, "pJ"];
  return `${(value / size).toPrecision(3)} ${unit}`;
};

function clearAnswers() {
  for (const one of answers) {
    one.last = null;
    one.value.textContent = "…";
    for (const { bar, box } of one.bars) {
      bar.style.cssText = "";
      box.classList.remove("best");
    }
  }
}

function showAnswers(data) {
  answers.forEach((one, index) => {
    one.energy.textContent = `${joules(data.joules[index])} so far`;
    const answer = data.answers[index];
    if (!answer) {
      one.plain.textContent = data.outputs[index].map((values, place) => {
        const port = page.networks[index].outputs[place];
        const texts = [...values.slice(0, 8)].map((value) => (port.spikes === null ? value.toPrecision(3) : value));
        return `${port.name}: ${texts.join(", ")}${port.spikes === null ? "" : " spikes"}`;
      }).join("; ");
      return;
    }
    // between utterances, and before the first answer of a recording, the last one stays
    if (data.finals.length) one.last = data.finals.at(-1)[index];
    const best = data.isOpen === false || answer.best < 0 ? one.last : answer.best;
    one.value.textContent = best === null || best < 0 ? "…" : page.classes[best] ?? String(best);
    if (answer.best < 0) return;
    const low = Math.min(...answer.mean);
    const span = Math.max(...answer.mean) - low || 1;
    one.bars.forEach(({ bar, box }, place) => {
      const share = `${Math.round((100 * (answer.mean[place] - low)) / span) * (one.many ? 1 : 0.62)}%`;
      bar.style[one.many ? "width" : "height"] = share;
      box.classList.toggle("best", place === best);
    });
  });
}

// ---- lanes: a column a tick, a row a neuron

let lanes = [];

const probe = document.createElement("canvas").getContext("2d");
const colours = new Map();

function colourOf(name) {
  if (!colours.has(name)) {
    probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const text = probe.fillStyle;
    colours.set(name, [1, 3, 5].map((place) => parseInt(text.slice(place, place + 2), 16)));
  }
  return colours.get(name);
}

function buildLanes() {
  const network = page.networks[shown];
  at("lanes").replaceChildren();
  lanes = network.signals.map((signal) => {
    const { rows } = signal;
    const canvas = make("canvas", { width: COLUMNS, height: rows });
    canvas.style.height = `${Math.min(120, Math.max(28, rows * LANE_HEIGHT))}px`;
    const name = signal.name.startsWith("links.") ? `unit ${signal.name.slice(6)}` : signal.name;
    const what = signal.spikes ? "spikes" : "values";
    const text = `${name}: ${what} of ${rows < signal.size ? `${rows} of ` : ""}${signal.size}, every ${+(signal.period * page.dt * 1e3).toPrecision(4)} ms`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", text);
    at("lanes").append(make("div", { className: "lane" }, [make("p", { textContent: text }), canvas]));
    return { signal, rows, canvas, paint: canvas.getContext("2d"), history: [], largest: 1e-9 };
  });
}

function clearLanes() {
  for (const lane of lanes) { lane.history = []; lane.paint.clearRect(0, 0, COLUMNS, lane.rows); }
}

function addColumns(lane, columns) {
  const number = columns.length;
  if (!number) return;
  lane.history.push(...columns);
  lane.history.splice(0, Math.max(0, lane.history.length - COLUMNS));
  const grown = Math.max(lane.largest, ...columns.map((column) => Math.max(...column.map(Math.abs))));
  if (grown > lane.largest) { lane.largest = grown; paintColumns(lane, lane.history); }
  else {
    lane.paint.globalCompositeOperation = "copy";
    lane.paint.drawImage(lane.canvas, -number, 0);
    lane.paint.globalCompositeOperation = "source-over";
    paintColumns(lane, columns);
  }
}

function paintColumns(lane, columns) {
  const shownColumns = columns.slice(-COLUMNS);
  const image = lane.paint.createImageData(shownColumns.length, lane.rows);
  const up = colourOf(lane.signal.spikes ? "--accent" : lane.signal.name.startsWith("links.") ? "--other" : "--third");
  const down = colourOf("--off");
  shownColumns.forEach((column, x) => column.forEach((value, row) => {
    const share = lane.signal.spikes ? (value ? 1 : 0) : Math.sqrt(Math.min(1, Math.abs(value) / lane.largest));
    image.data.set([...(value < 0 ? down : up), 255 * share], 4 * (row * shownColumns.length + x));
  }));
  lane.paint.putImageData(image, COLUMNS - shownColumns.length, 0);
}

function repaint() {
  colours.clear();
  for (const lane of lanes) if (lane.history.length) paintColumns(lane, lane.history);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
addEventListener("beforeprint", repaint);
addEventListener("afterprint", repaint);

// ---- messages and frames

let waiting = [];
let waited = false; // for the first answer

function take(data) {
  if (data.turn !== turn) return;
  // a hidden page draws nothing, and keeps the newest message alone
  if (document.hidden) waiting = [];
  waiting.push(data);
}

function frame() {
  const messages = waiting;
  waiting = [];
  for (const data of messages) {
    if (data.shown === shown && data.number) {
      const rows = lanes.reduce((sum, lane) => sum + lane.rows, 0);
      let offset = 0;
      for (const lane of lanes) {
        addColumns(lane, Array.from({ length: data.number }, (_, index) =>
          data.columns.subarray(index * rows + offset, index * rows + offset + lane.rows)));
        offset += lane.rows;
      }
    }
    if (data.ended && data.words) { words(data.words); setPlaying(false); }
  }
  const last = messages.at(-1);
  if (last) {
    if (!waited) performance.mark("first answer");
    waited = true;
    showAnswers({ ...last, finals: messages.flatMap((one) => one.finals) });
    at("tick").textContent = `tick ${last.ticks}, ${(last.ticks * page.dt).toFixed(2)} s`;
    if (last.seen.length) showSeen(last.seen);
    if (last.picture) showPicture(last.picture);
  }
  requestAnimationFrame(frame);
}

let playing = true;

function setPlaying(value) {
  playing = value;
  at("play").textContent = playing ? "Pause" : "Play";
  at("play").setAttribute("aria-pressed", String(playing));
  worker?.postMessage({ playing });
}

at("play").onclick = () => setPlaying(!playing);
at("again").onclick = () => {
  const pressed = [...at("sources").children].find((one) => one.getAttribute("aria-pressed") === "true");
  if (opened && pressed) choose(pressed.dataset.name);
};
document.addEventListener("visibilitychange", () => {
  // a device that sleeps stops its sensors, so that a stream has a gap
  if (document.hidden || source !== "blocks" || !playing) return;
  worker.postMessage({ restart: true });
  words("The page was hidden; the network starts anew.");
});

if (page.networks.length > 1) {
  at("which").hidden = false;
  for (const network of page.networks) at("network").append(make("option", { textContent: network.name }));
  at("network").onchange = () => {
    shown = at("network").selectedIndex;
    buildLanes();
    worker?.postMessage({ shown });
  };
}

buildLanes();
requestAnimationFrame(frame);
open();
