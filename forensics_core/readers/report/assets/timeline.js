// The timeline: bars by source, to zoom and to filter, and the entries of what is in sight.
const SOURCES = { file: "Files", process: "Processes", log: "Logs", event: "Cluster", container: "Containers", capture: "Capture" };
const LANES = Object.keys(SOURCES);
const BINS = 240;
const LEFT = 80;
const WIDTH = 1000;
const ROW = 26;
const SVG = "http://www.w3.org/2000/svg";

function draw(tag, attributes, text) {
  const one = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  if (text !== undefined) one.textContent = text;
  return one;
}

// All that has a time: [time, source, container, text, path or process]; made when it is needed.
function allMoments() {
  const found = [];
  DATA.containers.forEach((container, place) => {
    for (const row of container.changes) {
      if (row.kind === "D") continue;
      const same = row.mtime === row.ctime;
      if (Number.isFinite(row.mtime)) found.push([row.mtime, "file", place, row, same ? "modified" : "content modified"]);
      if (!same && Number.isFinite(row.ctime)) found.push([row.ctime, "file", place, row, "metadata changed"]);
    }
    for (const row of container.processes) if (Number.isFinite(row[6])) found.push([row[6], "process", place, row, ""]);
  });
  const names = DATA.containers.map((one) => one.name);
  for (const [time, source, name, text] of DATA.entries) found.push([time, source, names.indexOf(name), text, ""]);
  for (const [time, name, text] of DATA.lines) found.push([time, "log", names.indexOf(name), text, ""]);
  return found.sort((a, b) => a[0] - b[0]);
}

function told(moment) {
  const [, source, , what, words] = moment;
  if (source === "file") return `${what.path} (${WORDS[what.kind]}; ${words})`;
  if (source === "process") return `${what[0]} ${what[3]} started`;
  return what;
}

class Timeline {
  constructor(into) {
    this.moments = allMoments();
    this.lanes = new Set(LANES);
    this.words = "";
    this.container = "";
    this.into = into;
    this.build();
    this.filter();
    this.look(...this.first());
  }

  // Where to look first: since the container or its first process began, or all of it.
  first() {
    const began = this.moments.find((one) => one[1] === "container" || one[1] === "process");
    const [start, end] = this.extent();
    const from = began ? Math.max(start, began[0]) : start;
    if (from >= DATA.captured) return [start, end];
    const margin = Math.max((DATA.captured - from) / 20, 1000);
    return [from - margin, Math.min(end, DATA.captured) + margin];
  }

  extent() {
    const all = this.moments;
    return all.length ? [all[0][0] - 1000, all[all.length - 1][0] + 1000] : [DATA.captured - 1000, DATA.captured];
  }

  build() {
    const sources = make("fieldset", {}, make("legend", {}, "Sources"));
    for (const lane of LANES) {
      const change = (event) => { this.lanes[event.target.checked ? "add" : "delete"](lane); this.filter(); this.show(); };
      sources.append(make("label", {}, make("input", { type: "checkbox", checked: "", change }), ` ${SOURCES[lane]}`));
    }
    const select = make("select", { change: (event) => { this.container = event.target.value; this.filter(); this.show(); } });
    select.append(make("option", { value: "" }, "all"));
    DATA.containers.forEach((one, place) => select.append(make("option", { value: place }, one.name)));
    let waiting = 0;
    const input = (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => { this.words = event.target.value.trim().toLowerCase(); this.filter(); this.show(); }, 150);
    };
    const button = (text, click) => make("button", { type: "button", click }, text);
    this.from = make("input", { id: "from", size: 24, change: () => this.typed() });
    this.to = make("input", { id: "to", size: 24, change: () => this.typed() });
    this.graph = draw("svg", { class: "graph", viewBox: `0 0 ${LEFT + WIDTH} ${LANES.length * ROW + 22}`, role: "img", tabindex: 0 });
    this.count = make("p", { role: "status" });
    this.body = make("tbody");
    const head = make("tr", {}, ...["Time (UTC)", "Source", "Container", "What"].map((one) => make("th", { scope: "col" }, one)));
    const table = make("table", {}, make("thead", {}, head), this.body);
    this.into.append(
      make("div", { class: "controls" }, sources, make("label", {}, "Container ", select), make("label", {}, "With ", make("input", { type: "search", input }))),
      make("div", { class: "controls" },
        button("All", () => this.look(...this.extent())), button("Since the start", () => this.look(...this.first())),
        button("Zoom in", () => this.zoom(0.5)), button("Zoom out", () => this.zoom(2)),
        button("Earlier", () => this.move(-0.5)), button("Later", () => this.move(0.5)),
        make("label", {}, "From ", this.from), make("label", {}, "to ", this.to)),
      this.graph,
      make("p", { class: "dim" }, "Drag over a part to zoom into it. With the keyboard: + and − zoom, ← and → move, 0 shows all."),
      this.count, table);
    this.steer();
  }

  steer() {
    const keys = { "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), ArrowLeft: () => this.move(-0.25), ArrowRight: () => this.move(0.25), 0: () => this.look(...this.extent()) };
    this.graph.addEventListener("keydown", (event) => {
      if (keys[event.key] && !event.ctrlKey && !event.metaKey) { event.preventDefault(); keys[event.key](); }
    });
    const at = (event) => {
      const box = this.graph.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * (LEFT + WIDTH) - LEFT;
      return Math.min(Math.max(x, 0), WIDTH);
    };
    let start = null;
    this.graph.addEventListener("pointerdown", (event) => {
      start = at(event);
      this.chosen = draw("rect", { class: "chosen", x: LEFT + start, y: 0, width: 0, height: LANES.length * ROW });
      this.graph.append(this.chosen);
      this.graph.setPointerCapture(event.pointerId);
    });
    this.graph.addEventListener("pointermove", (event) => {
      if (start === null) return;
      const now = at(event);
      this.chosen.setAttribute("x", LEFT + Math.min(start, now));
      this.chosen.setAttribute("width", Math.abs(now - start));
    });
    this.graph.addEventListener("pointerup", (event) => {
      if (start === null) return;
      const ends = [start, at(event)].sort((a, b) => a - b);
      const [from, to] = this.sight;
      start = null;
      this.chosen.remove();
      if (ends[1] - ends[0] > 4) this.look(...ends.map((x) => from + (x / WIDTH) * (to - from)));
    });
  }

  filter() {
    const { lanes, words, container } = this;
    this.wanted = this.moments.filter((one) => lanes.has(one[1])
      && (container === "" || one[2] === Number(container) || one[2] < 0)
      && (!words || told(one).toLowerCase().includes(words)));
  }

  zoom(factor) {
    const [from, to] = this.sight;
    const middle = (from + to) / 2;
    const half = Math.max(((to - from) / 2) * factor, 5);
    this.look(middle - half, middle + half);
  }

  move(part) {
    const [from, to] = this.sight;
    const by = (to - from) * part;
    this.look(from + by, to + by);
  }

  typed() {
    const ends = [this.from, this.to].map((one) => (one.value.startsWith("@") ? Number(one.value.slice(1)) * 1000 : Date.parse(one.value.replace(" ", "T"))));
    const bad = ends.map((time) => !Number.isFinite(time));
    this.from.setAttribute("aria-invalid", bad[0]);
    this.to.setAttribute("aria-invalid", bad[1]);
    if (!bad[0] && !bad[1] && ends[0] < ends[1]) this.look(...ends);
  }

  look(from, to) {
    this.sight = [Math.floor(from), Math.ceil(to)];
    this.from.value = stamp(this.sight[0]);
    this.to.value = stamp(this.sight[1]);
    this.show();
  }

  // The first entry that is not before a time.
  place(time) {
    let low = 0;
    let high = this.wanted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.wanted[middle][0] < time) low = middle + 1; else high = middle;
    }
    return low;
  }

  show() {
    const [from, to] = this.sight;
    const [first, last] = [this.place(from), this.place(to)];
    const seen = this.wanted.slice(first, last);
    const outside = this.wanted.length - last;
    this.count.textContent = `${number(seen.length)} of ${number(this.wanted.length)} entries are in sight, ${number(first)} earlier, ${number(outside)} later.`;
    this.bars(seen, from, to);
    this.body.replaceChildren();
    this.listing?.more.remove();
    this.listing = new Listing(this.body, seen, (one) => this.line(one));
    const table = this.body.parentElement;
    if (this.listing.shown < seen.length) table.after(this.listing.more);
  }

  bars(seen, from, to) {
    const counts = LANES.map(() => new Uint32Array(BINS));
    for (const one of seen) {
      const bin = Math.min(Math.floor(((one[0] - from) / (to - from)) * BINS), BINS - 1);
      counts[LANES.indexOf(one[1])][bin] += 1;
    }
    const shapes = [];
    LANES.forEach((lane, row) => {
      const base = (row + 1) * ROW;
      const most = Math.log1p(Math.max(...counts[row]));
      shapes.push(draw("text", { x: 4, y: base - 8 }, SOURCES[lane]));
      shapes.push(draw("line", { x1: LEFT, x2: LEFT + WIDTH, y1: base, y2: base }));
      counts[row].forEach((count, bin) => {
        if (!count) return;
        const height = 4 + (Math.log1p(count) / most) * (ROW - 7);
        shapes.push(draw("rect", { class: `bar-${lane}`, x: LEFT + (bin * WIDTH) / BINS, y: base - height, width: WIDTH / BINS - 0.6, height }));
      });
    });
    for (let tick = 0; tick < 5; tick += 1) {
      const x = LEFT + (tick * WIDTH) / 5;
      shapes.push(draw("line", { x1: x, x2: x, y1: 0, y2: LANES.length * ROW }));
      shapes.push(draw("text", { x: x + 2, y: LANES.length * ROW + 15 }, stamp(from + ((to - from) * tick) / 5).slice(0, 23)));
    }
    this.graph.replaceChildren(...shapes);
    this.graph.setAttribute("aria-label", `${number(seen.length)} entries from ${stamp(from)} to ${stamp(to)}; the table below lists them`);
  }

  line(moment) {
    const name = DATA.containers[moment[2]]?.name || "";
    const cells = [stamp(moment[0]), SOURCES[moment[1]], name, told(moment)];
    return make("tr", {}, ...cells.map((cell, place) => make("td", place === 3 ? { class: "name" } : {}, cell)));
  }
}

// Very many times take a while to sort: only once somebody comes near.
let timeline = null;
function theTimeline() {
  timeline ??= new Timeline(document.getElementById("graph"));
  return timeline;
}
new IntersectionObserver((entries, observer) => {
  if (entries.some((one) => one.isIntersecting)) { observer.disconnect(); theTimeline(); }
}, { rootMargin: "400px" }).observe(document.getElementById("timeline"));
window.addEventListener("beforeprint", theTimeline);
