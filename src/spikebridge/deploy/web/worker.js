"use strict";
// Moves numbers between the page and the modules; everything is computed in the modules.

const VIEWS = { int8_t: Int8Array, uint8_t: Uint8Array, int16_t: Int16Array, int32_t: Int32Array, int64_t: BigInt64Array };
const BUDGET = 12; // ms of ticks between two messages
const PAUSE = 8; // ms
const MAX_QUEUE = 500; // blocks of a live stream that wait
const MAX_BEHIND = 500; // ms after which a stream resumes at the present

function viewOf(run, place, kind, size) {
  return new VIEWS[kind](run.memory.buffer, run.address(place), size);
}

function floatsOf(run, place, size) {
  return new Float32Array(run.memory.buffer, run.address(place), size);
}

class Network {
  constructor(description, run) {
    this.run = run;
    this.inputs = new Map();
    description.inputs.forEach((port, number) => {
      const values = viewOf(run, port.at, port.type, port.size);
      this.inputs.set(port.name, { ...port, number, values, reals: floatsOf(run, port.real, port.size) });
    });
    this.outputs = description.outputs.map((port) => ({
      ...port, values: viewOf(run, port.at, port.type, port.size), flag: viewOf(run, port.given, "uint8_t", 1),
      counts: port.spikes === null ? null : floatsOf(run, port.spikes, port.size),
    }));
    this.signals = description.signals.map((port) => {
      const shown = Array.from({ length: port.rows }, (_, row) => Math.floor((row * port.size) / port.rows));
      return { ...port, shown, values: viewOf(run, port.at, port.type, port.size) };
    });
    this.numRows = this.signals.reduce((sum, signal) => sum + signal.rows, 0);
    const answer = description.answer;
    this.mean = answer && floatsOf(run, answer.at, answer.size);
    this.start(0);
  }

  start(stream) {
    this.run.start(stream);
    this.tick = 0;
  }

  row(port) {
    const since = this.tick - port.phase;
    return since >= 0 && since % port.period === 0 ? since / port.period : -1;
  }

  setIntegers(name, rows) {
    const port = this.inputs.get(name);
    const row = port ? this.row(port) : -1;
    if (row >= 0) port.values.set(rows.subarray(row * port.size, (row + 1) * port.size));
  }

  setReals(name, rows, first) {
    const port = this.inputs.get(name);
    if (!port || this.row(port) < 0) return;
    // the first row is that of the first sample at or after tick `first`
    const row = this.row(port) - Math.ceil(Math.max(first - port.phase, 0) / port.period);
    port.reals.set(rows.subarray(row * port.size, (row + 1) * port.size));
    this.run.take(port.number);
  }

  step() {
    this.run.step();
    this.tick += 1;
  }

  column(into, offset) {
    for (const signal of this.signals) {
      const since = this.tick - 1 - signal.phase;
      const isNew = since >= 0 && since % signal.period === 0;
      for (const index of signal.shown) {
        into[offset++] = signal.spikes && !isNew ? 0 : Number(signal.values[index]) * (signal.scale ?? 1);
      }
    }
  }
}

class FrontEnd {
  constructor(description, run) {
    this.run = run;
    this.inputs = new Map(description.inputs.map((one) => [one.name, floatsOf(run, one.at, one.size)]));
    this.outputs = description.outputs.map((one) => ({ ...one, values: floatsOf(run, one.at, one.rows * one.size) }));
    this.rates = description.rates.map((one) => ({ ...one, values: floatsOf(run, one.at, one.block) }));
    const activity = description.activity;
    this.detector = activity && { samples: floatsOf(run, activity.samples, activity.size), flags: floatsOf(run, activity.flags, 5) };
    run.start(0);
  }
}

async function openModule(bytes) {
  return (await WebAssembly.instantiate(bytes, {})).instance.exports;
}

class Player {
  constructor(page, networks, front) {
    Object.assign(this, { page, networks, front, shown: 0, source: null, playing: true, settings: new Map(), joules: [] });
  }

  restart(withFront) {
    this.source.blocks = 0;
    this.networks.forEach((network, index) => {
      // a start sets the count of the module to 0
      this.joules[index] += network.run.energy();
      network.start(0);
    });
    if (withFront && this.front) this.front.run.start(1);
  }

  play(source) {
    this.source = { stream: 0, newest: [], ...source };
    this.columns = [];
    this.finals = [];
    this.ended = false;
    this.front?.run.start(0);
    this.restart(false);
    this.joules = this.networks.map(() => 0);
    this.ahead = true; // up to the first answer time does not count
    this.origin = now();
    this.done = 0;
  }

  end(text) {
    this.ended = true;
    this.words = text;
  }

  finish() {
    this.finals.push(this.networks.map((network) => (network.mean ? network.run.best() : -1)));
  }

  tick() {
    for (const network of this.networks) network.step();
    const network = this.networks[this.shown];
    const column = new Float32Array(network.numRows);
    network.column(column, 0);
    this.columns.push(column);
    if (network.outputs.some((port) => port.flag[0])) this.ahead = false;
    return 1;
  }

  // the next tick of the source; the ticks that passed, 0 where there is nothing to step yet
  advance() {
    return { sample: () => this.ofSample(), rows: () => this.ofRows(), blocks: () => this.ofBlocks(),
             drawing: () => this.ofDrawing(), tasks: () => this.ofTasks() }[this.source.kind]();
  }

  ofSample() {
    const { source } = this;
    if (this.networks[0].tick >= this.page.sample.ticks) {
      this.finish();
      source.stream = (source.stream + 1) % this.page.sample.streams.length;
      this.restart(false);
    }
    this.networks.forEach((network, index) => {
      for (const [name, rows] of this.page.sample.streams[source.stream][index]) network.setIntegers(name, rows);
    });
    return this.tick();
  }

  ofRows() {
    const { source } = this;
    const port = this.networks[0].inputs.get(source.name);
    if (this.networks[0].row(port) * port.size >= source.rows.length) {
      this.finish();
      this.end("The file has ended.");
      return 0;
    }
    for (const network of this.networks) network.setReals(source.name, source.rows, 0);
    return this.tick();
  }

  ofTasks() {
    const { source } = this;
    const port = this.networks[0].inputs.values().next().value;
    if (this.networks[0].tick >= this.page.restart) {
      this.finish();
      this.restart(false);
      source.stream += 1;
    }
    if (this.networks[0].row(port) >= 0) {
      const picture = this.page.examples[source.stream % this.page.examples.length];
      const order = this.page.tasks[source.task];
      const moved = Float32Array.from(order ?? picture, (value, index) => (order ? picture[value] : value));
      for (const network of this.networks) { network.inputs.get(port.name).reals.set(moved); network.run.take(port.number); }
      this.picture = moved;
    }
    return this.tick();
  }

  ofDrawing() {
    const { source, front } = this;
    if (this.networks[0].tick >= this.page.restart) {
      this.finish();
      this.restart(false);
    }
    front.inputs.get("drawing").set(source.drawing);
    for (const [name, value] of this.settings) front.inputs.get(name)?.fill(value);
    front.run.step();
    for (const output of front.outputs) {
      for (const network of this.networks) {
        const port = network.inputs.get(output.name);
        if (port && network.row(port) >= 0) { port.reals.set(output.values); network.run.take(port.number); }
      }
    }
    return this.tick();
  }

  ofBlocks() {
    const { source, front } = this;
    const { ticks } = this.page.front;
    const within = this.networks[0].tick % ticks;
    if (within === 0 || source.waits) {
      const block = this.nextBlock();
      if (!block) return 0;
      source.waits = !this.isTaken(block);
      if (source.waits) { this.ahead = false; return ticks; }
    }
    return this.tickOfBlock();
  }

  // a live stream that waits too long resumes with its newest samples, so that memory stays bounded
  receive(samples) {
    const { source } = this;
    if (source.left > MAX_QUEUE * this.front.inputs.get("samples").length) {
      source.chunks = [];
      source.left = 0;
      this.restart(true);
    }
    source.chunks.push(samples);
    source.left += samples.length;
  }

  nextBlock() {
    const { source, front } = this;
    const size = front.inputs.get("samples").length;
    const rate = front.rates.find((one) => one.rate === source.rate);
    const needed = rate ? rate.values.length : size;
    let samples = takeSamples(source, needed);
    if (!samples && source.closed && source.left > 0) {
      samples = new Float32Array(needed);
      samples.set(takeSamples(source, source.left));
    }
    if (!samples) {
      if (source.closed && !this.ended) { this.endOfBlocks(); this.end("The file has ended."); }
      return null;
    }
    if (!rate) return samples;
    rate.values.set(samples);
    front.run.take(front.rates.indexOf(rate));
    return front.inputs.get("samples").slice();
  }

  // restarts and answers as `live` has them: by utterances, or by windows
  isTaken(block) {
    const { source, front } = this;
    const { window } = this.page.front;
    if (!front.detector) {
      if (source.blocks === window) this.restart(true);
      return this.takeBlock(block, true);
    }

    front.detector.samples.set(block);
    front.run.detect();
    const [starts, isOpen, counts, ends, isUtterance] = front.detector.flags;
    source.isAnswer = isUtterance > 0;
    const newest = source.newest;
    source.newest = [...newest, block].slice(-this.page.front.preRoll);
    source.isOpen = isOpen > 0;
    if (starts) {
      this.restart(true);
      source.windows = (source.windows ?? -1) + 1;
      for (const one of newest) {
        this.takeBlock(one, true);
        for (let tick = 0; tick < this.page.front.ticks; tick++) this.tickOfBlock();
      }
    }
    if (ends) this.finish();
    return isOpen && source.blocks < window ? this.takeBlock(block, counts > 0) : false;
  }

  takeBlock(block, counts) {
    this.front.inputs.get("samples").set(block);
    this.front.run.step();
    this.source.blocks += 1;
    for (const network of this.networks) network.run.average?.(counts ? 1 : 0);
    return true;
  }

  tickOfBlock() {
    const { ticks, window } = this.page.front;
    const first = this.networks[0].tick - (this.networks[0].tick % ticks);
    for (const output of this.front.outputs) {
      for (const network of this.networks) network.setReals(output.name, output.values, first);
    }
    this.tick();
    if (!this.front.detector && this.networks[0].tick === ticks * window) {
      this.finish();
      this.source.windows = (this.source.windows ?? 0) + 1;
    }
    return 1;
  }

  endOfBlocks() {
    const { source, front } = this;
    const isFirst = !source.windows;
    if (front.detector ? source.isOpen && (isFirst || source.isAnswer) : isFirst && source.blocks) this.finish();
  }

  message() {
    const network = this.networks[this.shown];
    const columns = new Float32Array(this.columns.length * network.numRows);
    this.columns.forEach((column, index) => columns.set(column, index * network.numRows));
    const outputs = this.front && this.source.kind === "drawing" ? this.front.outputs : [];
    const message = {
      columns, turn: this.source.turn, number: this.columns.length, shown: this.shown, finals: this.finals, ended: this.ended, words: this.words,
      answers: this.networks.map((one) => (one.mean ? { best: one.run.best(), mean: one.mean.slice() } : null)),
      joules: this.joules.map((before, index) => before + this.networks[index].run.energy()), ticks: network.tick, isOpen: this.source.isOpen,
      outputs: this.networks.map((one) => one.outputs.map((port) =>
        port.counts ? port.counts.slice() : Array.from(port.values, (value) => Number(value) * (port.scale ?? 1)))),
      seen: outputs.map((one) => ({ name: one.name, values: one.values.slice() })), picture: this.picture,
    };
    this.columns = [];
    this.finals = [];
    return message;
  }
}

function takeSamples(source, needed) {
  if (source.left < needed || needed === 0) return null;
  const samples = new Float32Array(needed);
  let filled = 0;
  while (filled < needed) {
    const chunk = source.chunks[0];
    const part = chunk.subarray(0, needed - filled);
    samples.set(part, filled);
    filled += part.length;
    if (part.length === chunk.length) source.chunks.shift();
    else source.chunks[0] = chunk.subarray(part.length);
  }
  source.left -= needed;
  return samples;
}

const now = () => performance.now();

let player = null;

// the page sends messages; a test calls the classes
if (typeof postMessage === "function" && typeof document === "undefined") {
  const isLive = () => player.source.kind === "blocks" && !player.source.closed;

  const loop = () => {
    const started = now();
    if (player?.source && player.playing && !player.ended) {
      const length = player.page.dt * 1000 * player.page.slowdown;
      if (started - player.origin - player.done * length > MAX_BEHIND) player.origin = started - player.done * length;
      while (now() - started < BUDGET) {
        const isDue = isLive() || player.ahead || player.done * length <= now() - player.origin;
        if (!isDue || player.ended) break;
        const passed = player.advance();
        if (!passed) break;
        if (player.ahead) player.origin = now();
        else player.done += passed;
      }
      if (player.columns.length || player.ended || player.finals.length) postMessage(player.message());
    }
    setTimeout(loop, PAUSE);
  };

  onmessage = async ({ data }) => {
    if (data.open) {
      const { page, modules } = data.open;
      const runs = await Promise.all(modules.map(openModule));
      const networks = page.networks.map((one, index) => new Network(one, runs[index]));
      player = new Player(page, networks, page.front ? new FrontEnd(page.front, runs[networks.length]) : null);
      postMessage({ opened: true });
      loop();
    }
    if (data.source === null) player.source = null;
    if (data.source) player.play(data.source);
    if (data.drawing && player.source?.kind === "drawing") player.source.drawing = data.drawing;
    if (data.samples && player.source?.kind === "blocks" && player.playing) player.receive(data.samples);
    if (data.restart) player.restart(true);
    if (data.setting) player.settings.set(...data.setting);
    if (data.task !== undefined && player.source) player.source.task = data.task;
    if (data.shown !== undefined) { player.shown = data.shown; player.columns = []; }
    if (data.playing !== undefined) {
      player.playing = data.playing;
      player.origin = now() - player.done * player.page.dt * 1000 * player.page.slowdown;
    }
  };
}
