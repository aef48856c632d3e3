"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const COLORS = {
  "direct": "direct", "F(2×2)": "f2", "F(4×4)": "f4", "F(1×4)": "f14", "masked": "masked",
  "compacted": "compacted", "pruned_filters": "pruned_filters", "pruned": "pruned", "weight": "weight",
  "block:2": "block2", "block:4": "block4", "block:8": "block8", "kernel_block:8": "kernel8", "kernel_block:16": "kernel16", "n:m": "nm",
};
const WIDTH = 340, HEIGHT = 236, LEFT = 34, RIGHT = 8, TOP = 8, BOTTOM = 30;
const color = (way) => `var(--${COLORS[way] ?? "direct"})`;

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "line", "path", "circle", "text"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const distinct = (values) => [...new Set(values)];
const number = (value) => value >= 100 ? value.toFixed(0) : value.toPrecision(3);

// The pickers, and the address that keeps them: #batch=1&threads=2&pattern=weight, or the same after "?".
const PICKERS = {
  device: { label: "Device", values: distinct(data.charts.map((chart) => chart.device)) },
  batch: { label: "Batch", values: distinct(data.charts.map((chart) => String(chart.batch))) },
  threads: { label: "Threads", values: distinct(data.charts.map((chart) => String(chart.threads))) },
  pattern: {
    label: "Pattern",
    values: ["all", ...distinct(data.charts.flatMap((chart) => chart.series.filter((s) => !s.dense).map((s) => s.way)))],
  },
  packing: { label: "Kernel", values: ["both", "chosen", "forced"] },
};
const FACTS = { both: "chosen by the plan, and forced", chosen: "chosen by the plan", forced: "forced" };
const state = {};

function read() {
  const query = new URLSearchParams(location.hash.length > 1 ? location.hash.slice(1) : location.search);
  for (const [name, { values }] of Object.entries(PICKERS)) {
    state[name] = values.includes(query.get(name)) ? query.get(name) : state[name] ?? values[0];
    const select = document.getElementById(name);
    if (select) select.value = state[name];
  }
}

function pickers() {
  const form = document.getElementById("pickers");
  for (const [name, { label, values }] of Object.entries(PICKERS)) {
    const select = make("select", { id: name, name });
    for (const value of values) select.append(make("option", { value }, FACTS[value] ?? value));
    select.addEventListener("change", () => {
      state[name] = select.value;
      history.replaceState(null, "", "#" + new URLSearchParams(state));
      draw();
    });
    if (values.length > 1) form.append(make("label", { for: name }, label + " ", select));
  }
  form.addEventListener("submit", (event) => event.preventDefault());
}

const shown = (series) => series.dense
  || (state.pattern === "all" || state.pattern === series.way) && (state.packing === "both" || state.packing === series.packed);

// Axes: the share of nonzero weights and the speedup, both logarithmic, the same in every chart.
function scales(charts) {
  const points = charts.flatMap((chart) => chart.series.filter(shown).flatMap((series) => series.points));
  const sparsest = Math.max(50, ...points.map((point) => point.zeros));
  const fastest = Math.max(2, ...points.map((point) => point.direct[0]));
  const slowest = Math.min(.5, ...points.map((point) => point.direct[0]));
  const end = Math.log(1 / (1 - Math.min(sparsest, 99.9) / 100)) * 1.03;
  const [low, high] = [Math.log(slowest) - .1, Math.log(fastest) + .15];
  const x = (zeros) => LEFT + (WIDTH - LEFT - RIGHT) * Math.log(1 / (1 - Math.min(zeros, 99.9) / 100)) / end;
  const y = (speedup) => TOP + (HEIGHT - TOP - BOTTOM) * (high - Math.log(speedup)) / (high - low);
  return { x, y, sparsest, slowest: Math.exp(low), fastest: Math.exp(high) };
}

function axes(svg, scale) {
  const { x, y } = scale;
  for (const zeros of [0, 25, 50, 70, 80, 90, 95, 98].filter((zeros) => zeros <= scale.sparsest + 1)) {
    svg.append(make("line", { class: "grid", x1: x(zeros), x2: x(zeros), y1: TOP, y2: HEIGHT - BOTTOM }));
    svg.append(make("text", { x: x(zeros), y: HEIGHT - BOTTOM + 12, "text-anchor": "middle" }, String(zeros)));
  }
  svg.append(make("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 5, "text-anchor": "middle" }, "% of the weights zero"));
  for (const speedup of [.05, .1, .2, .5, 1, 2, 4, 8, 16, 32, 64, 128].filter((v) => v > scale.slowest && v < scale.fastest)) {
    svg.append(make("line", { class: speedup === 1 ? "one" : "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(speedup), y2: y(speedup) }));
    svg.append(make("text", { x: LEFT - 4, y: y(speedup) + 3, "text-anchor": "end" }, speedup + "×"));
  }
  const last = Math.min(scale.sparsest, 100 - 100 / scale.fastest);
  svg.append(make("line", { class: "ideal", x1: x(0), y1: y(1), x2: x(last), y2: y(1 / (1 - last / 100)) }));
}

const path = (points) => "M" + points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");

// Dense ways have no zeros: they are drawn at the sparsity of their cell, the fastest only.
function bestDense(chart) {
  const best = new Map();
  for (const series of chart.series.filter((series) => series.dense)) {
    for (const point of series.points) {
      const known = best.get(point.sparsity);
      if (!known || point.ms[0] < known.ms[0]) best.set(point.sparsity, { ...point, way: series.way });
    }
  }
  return [...best.values()].sort((a, b) => a.sparsity - b.sparsity);
}

function describe(chart, series, point) {
  const packed = series.dense ? "" : `, kernel ${series.packed}`;
  const zeros = series.dense ? "dense" : `${number(point.zeros)} % zeros`;
  const peak = point.peak === null ? "" : `, ${(100 * point.peak).toFixed(0)} % of the peak`;
  return `${series.way}, ${zeros}${packed}\n${number(point.ms[0])} ms (${number(point.ms[1])}–${number(point.ms[2])}), ${point.kernel}\n`
    + `${number(point.gflops)} GFLOP/s of nonzero weights${peak}\n`
    + `${number(point.direct[0])}× direct (${number(point.direct[1])}–${number(point.direct[2])}), ${number(point.best)}× best dense`;
}

function plot(chart, scale) {
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: "0", role: "application" });
  svg.setAttribute("aria-label", `Speedups of ${chart.layer}: arrow keys move between points`);
  axes(svg, scale);
  const dense = bestDense(chart);
  svg.append(make("path", { class: "best", d: path(dense.map((p) => [scale.x(p.sparsity), scale.y(p.direct[0])])) }));
  const dots = [dense.map((point) => dot(svg, chart, { dense: true, way: point.way }, point, scale, point.sparsity))];
  for (const series of chart.series.filter((series) => !series.dense && shown(series))) {
    const style = `stroke: ${color(series.way)}`;
    const points = series.points.map((point) => [scale.x(point.zeros), scale.y(point.direct[0])]);
    svg.append(make("path", { class: "line " + series.packed, style, d: path(points) }));
    for (const { zeros, direct } of series.points) {
      const at = scale.x(zeros);
      svg.append(make("line", { class: "range", style, x1: at, x2: at, y1: scale.y(direct[1]), y2: scale.y(direct[2]) }));
    }
    dots.push(series.points.map((point) => dot(svg, chart, series, point, scale, point.zeros)));
  }
  walk(svg, dots);
  return svg;
}

function dot(svg, chart, series, point, scale, zeros) {
  const node = make("circle", { class: "dot", r: 3.5, cx: scale.x(zeros), cy: scale.y(point.direct[0]) });
  node.style.fill = color(series.way);
  node.tip = describe(chart, series, point);
  node.addEventListener("pointerenter", () => show(node));
  node.addEventListener("pointerleave", hide);
  svg.append(node);
  return node;
}

// Arrow keys: left and right along a way, up and down between ways.
function walk(svg, dots) {
  let [series, at] = [0, 0];
  const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const move = MOVES[event.key];
    if (!move) return;
    event.preventDefault();
    series = (series + move[0] + dots.length) % dots.length;
    at = Math.max(0, Math.min(dots[series].length - 1, at + move[1]));
    show(dots[series][at]);
  });
  svg.addEventListener("blur", hide);
}

const tip = document.getElementById("tip");

function show(node) {
  hide();
  node.classList.add("chosen-dot");
  node.setAttribute("r", 5);
  tip.textContent = node.tip;
  tip.hidden = false;
  const [at, size] = [node.getBoundingClientRect(), tip.getBoundingClientRect()];
  tip.style.left = Math.max(4, Math.min(at.right + 8, innerWidth - size.width - 4)) + "px";
  tip.style.top = (at.top > size.height + 12 ? at.top - size.height - 8 : at.bottom + 8) + "px";
}

function hide() {
  tip.hidden = true;
  for (const node of document.querySelectorAll(".chosen-dot")) {
    node.classList.remove("chosen-dot");
    node.setAttribute("r", 3.5);
  }
}

function legend(charts) {
  const list = document.getElementById("legend");
  list.replaceChildren();
  const entry = (classes, style, words) => {
    const sample = make("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" });
    sample.append(make("line", { class: classes, style, x1: 0, x2: 26, y1: 5, y2: 5 }));
    list.append(make("li", {}, sample, words));
  };
  entry("ideal", "", "1/(1 − s)");
  entry("one", "", "direct dense");
  entry("best", "", "best dense");
  for (const way of distinct(charts.flatMap((c) => c.series.filter((s) => !s.dense && shown(s)).map((s) => s.way)))) {
    entry("line", `stroke: ${color(way)}`, way);
  }
  if (charts.some((c) => c.series.some((s) => s.packed === "forced" && !s.dense && shown(s)))) entry("line forced one", "", "kernel forced");
}

function draw() {
  hide();
  const charts = data.charts.filter((chart) =>
    chart.device === state.device && String(chart.batch) === state.batch && String(chart.threads) === state.threads);
  const place = document.getElementById("charts");
  place.replaceChildren();
  legend(charts);
  if (!charts.length) place.append(make("p", { id: "empty" }, "Nothing was measured there."));
  const scale = scales(charts);
  for (const chart of charts) {
    const caption = make("figcaption", {}, chart.layer);
    if (chart.shape !== chart.layer) caption.append(make("small", {}, `${chart.shape}, ${number(chart.macs / 1e6)} million multiply-adds`));
    place.append(make("figure", {}, caption, plot(chart, scale)));
  }
  document.body.dataset.drawn = charts.length;
}

for (const [name, value] of data.head) document.getElementById("head").append(make("dt", {}, name), make("dd", {}, value));
pickers();
read();
addEventListener("hashchange", () => { read(); draw(); });
draw();
