// The report's page. `data` is what html.c wrote: campaign, summary, verdicts, cells, fits, history, tables, telemetry,
// hangs, marks, causes, environment. Every figure comes from there; nothing is computed here but shares of what is shown together.
import * as echarts from "echarts/core";
import { CustomChart, HeatmapChart, LineChart, ScatterChart } from "echarts/charts";
import { AriaComponent, GridComponent, LegendComponent, MarkLineComponent, TooltipComponent, VisualMapComponent } from
  "echarts/components";
import { SVGRenderer } from "echarts/renderers";

echarts.use([CustomChart, HeatmapChart, LineChart, ScatterChart, AriaComponent, GridComponent, LegendComponent,
  MarkLineComponent, TooltipComponent, VisualMapComponent, SVGRenderer]);

const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");
const charts = []; // { box, make, chart }: drawn anew when the theme changes

// Okabe and Ito's colours, told apart by most eyes; a symbol for each variant tells them apart without colour.
const COLORS = { light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#666666"],
  dark: ["#56b4e9", "#ff8a4c", "#2fd0a2", "#e69ac6", "#f0e442", "#8fb7ff", "#bbbbbb"] };
const SYMBOLS = ["circle", "rect", "triangle", "diamond", "roundRect", "pin", "arrow"];
const variants = [...new Set(data.cells.map((c) => c.variant))];
const contexts = [...new Set(data.cells.map((c) => c.context))].sort((a, b) => a - b);

// ---- elements

function el(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) e.addEventListener(key.slice(2), value);
    else e.setAttribute(key, value);
  }
  e.append(...children.filter((c) => c !== null));
  return e;
}

function section(id, title, ...children) {
  const s = el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), ...children);
  page.append(s);
  return s;
}

const list = (lines) => el("ul", {}, ...lines.map((l) => el("li", {}, l)));

// ---- values

const missing = (v) => v === null || v === undefined;

function signif(x, digits) {
  if (x !== 0 && (Math.abs(x) >= 10 ** digits || Math.abs(x) < 1e-4)) return Math.abs(x) < 1 ? x.toExponential(2) : x.toFixed(0);
  return x.toPrecision(digits);
}

function show(value, column) {
  if (missing(value)) return "–";
  if (typeof value !== "number") return String(value);
  switch (column.format) {
    case "int": return String(value);
    case "fixed": return value.toFixed(column.digits);
    case "ratio": return `${value.toFixed(column.digits)}x`;
    case "signif": return signif(value, column.digits);
    default: return String(value);
  }
}

const seconds = (t) => `${signif(t, 4)} s`;

// ---- tables: sortable by their headers, copied as CSV with numbers in full

function csv(columns, rows) {
  const field = (v) => {
    const s = missing(v) ? "" : String(v);
    return /[",\r\n]/.test(s) ? `"${s.replaceAll('"', '""')}"` : s;
  };
  return [columns.map((c) => field(c.key)), ...rows.map((r) => columns.map((c) => field(r[c.key])))]
    .map((r) => r.join(",")).join("\r\n") + "\r\n";
}

// A page opened from disk may have no clipboard API: then a selection is copied the old way.
async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = before; }, 1500);
}

function compare(a, b) {
  if (a === b) return 0;
  if (missing(a)) return 1; // what is missing goes last, whichever way
  if (missing(b)) return -1;
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

function table(id, title, columns, rows) {
  let sorted = [...rows];
  const body = el("tbody");
  const heads = columns.map((c) => el("th", { scope: "col", class: c.number ? "number" : "" },
    el("button", { type: "button", onclick: () => sortBy(c) }, c.title)));
  const fill = () => body.replaceChildren(...sorted.map((r) => el("tr", { class: verdictClass(r) },
    ...columns.map((c) => el("td", { class: c.number ? "number" : "" }, show(r[c.key], c))))));
  function sortBy(column) {
    const head = heads[columns.indexOf(column)];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const h of heads) h.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    sorted = [...rows].sort((a, b) => {
      const x = a[column.key], y = b[column.key];
      return (down && !missing(x) && !missing(y) ? -1 : 1) * compare(x, y);
    });
    fill();
  }
  fill();
  const button = el("button", { type: "button", class: "copy", onclick: () => copy(csv(columns, sorted), button) }, "copy CSV");
  return el("figure", { class: "table", id: `table-${id}` },
    el("figcaption", {}, title, button),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
      el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body)));
}

function verdictClass(row) {
  return { slower: "bad", faster: "good", "suspected slower": "warn" }[row.verdict] || "";
}

// ---- charts

const dark = () => document.documentElement.dataset.theme === "dark";
const palette = () => COLORS[dark() ? "dark" : "light"];
const color = (variant) => palette()[variants.indexOf(variant) % palette().length];
const symbol = (variant) => SYMBOLS[variants.indexOf(variant) % SYMBOLS.length];

function base() {
  const ink = dark() ? "#e6e6e6" : "#222222", grid = dark() ? "#3a3f46" : "#dddddd";
  return {
    animation: false,
    aria: { enabled: true },
    color: palette(),
    textStyle: { color: ink, fontFamily: "system-ui, sans-serif" },
    grid: { left: 64, right: 24, top: 40, bottom: 48 },
    legend: { top: 0, textStyle: { color: ink }, type: "plain", itemWidth: 20, itemHeight: 10 },
    tooltip: { trigger: "item", confine: true, backgroundColor: dark() ? "#22262b" : "#ffffff", textStyle: { color: ink } },
    ink,
    axis: (name, more = {}) => ({ name, nameLocation: "middle", nameGap: 32, axisLine: { lineStyle: { color: ink } },
      axisLabel: { color: ink }, splitLine: { lineStyle: { color: grid } }, nameTextStyle: { color: ink }, ...more }),
  };
}

function chart(id, label, make, height = 380) {
  const box = el("div", { class: "chart", id: `chart-${id}`, role: "img", "aria-label": label, style: `height:${height}px` });
  charts.push({ box, make, chart: null });
  return el("figure", {}, box, el("figcaption", {}, label));
}

function draw() {
  for (const c of charts) {
    c.chart?.dispose();
    c.chart = echarts.init(c.box, null, { renderer: "svg" });
    const option = c.make(base());
    delete option.ink;
    delete option.axis;
    c.chart.setOption(option);
  }
}

const contextLabel = (n) => (n >= 1024 && n % 1024 === 0 ? `${n / 1024}k` : String(n));

// Contexts are few and lie far apart: ticks at the powers of two, on the logarithm.
function contextAxis(b) {
  return b.axis("context, tokens", { type: "log", logBase: 2, min: contexts[0] / 1.2, max: contexts.at(-1) * 1.2,
    axisLabel: { color: b.ink, formatter: (n) => (Number.isInteger(Math.log2(n)) ? contextLabel(n) : "") } });
}

function errorBars(name, cells) {
  return { type: "custom", name, silent: true, z: 3, tooltip: { show: false },
    data: cells.filter((c) => c.low !== null).map((c) => [c.context, c.low, c.high]),
    renderItem: (params, api) => {
      const low = api.coord([api.value(0), api.value(1)]), high = api.coord([api.value(0), api.value(2)]);
      const line = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style: { stroke: color(name), lineWidth: 1.5 } });
      return { type: "group", children: [line(low[0], low[1], high[0], high[1]),
        line(low[0] - 5, low[1], low[0] + 5, low[1]), line(high[0] - 5, high[1], high[0] + 5, high[1])] };
    } };
}

function fitBand(fit) {
  return { type: "custom", name: fit.variant, silent: true, z: 1, tooltip: { show: false },
    data: [fit.curve.length],
    renderItem: (params, api) => {
      const up = fit.curve.map((p) => api.coord([p[0], p[3]])), down = fit.curve.map((p) => api.coord([p[0], p[2]]));
      return { type: "polygon", shape: { points: [...up, ...down.reverse()] }, style: { fill: color(fit.variant), opacity: 0.15 } };
    } };
}

// A logarithmic axis has its ticks at powers of its base: of 2 where times are too close for those of 10.
function timesBase() {
  const t = data.cells.filter((c) => c.n > 0).map((c) => c.median);
  return Math.max(...t) / Math.min(...t) < 20 ? 2 : 10;
}

function scalingChart(b) {
  const series = [];
  for (const v of variants) {
    const cells = data.cells.filter((c) => c.variant === v && c.n > 0);
    const fit = data.fits.find((f) => f.variant === v);
    series.push({ type: "scatter", name: v, symbol: symbol(v), symbolSize: 10, itemStyle: { color: color(v) }, z: 4,
      data: cells.map((c) => ({ value: [c.context, c.median], cell: c })) });
    series.push(errorBars(v, cells));
    if (!fit) continue;
    if (fit.curve[0][2] !== null) series.push(fitBand(fit));
    series.push({ type: "line", name: v, showSymbol: false, silent: true, z: 2, lineStyle: { color: color(v), width: 1.5, type: fit.broke ? "dashed" : "solid" },
      data: fit.curve.map((p) => [p[0], p[1]]) });
  }
  return { ...b, xAxis: contextAxis(b), yAxis: b.axis("prefill, s", { type: "log", logBase: timesBase(), nameGap: 48 }), series,
    legend: { ...b.legend, data: variants },
    tooltip: { ...b.tooltip, formatter: ({ data: d }) => d?.cell ? cellText(d.cell) : "" } };
}

function cellText(c) {
  const interval = c.low === null ? "no interval" : `${seconds(c.low)} to ${seconds(c.high)}`;
  return `${escape(c.variant)} at ${c.context}<br>${seconds(c.median)} (${interval})<br>${c.tokens_per_s.toFixed(1)} tokens/s, n = ${c.n}`;
}

const escape = (s) => String(s).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

function lineChart(key, name) {
  return (b) => ({ ...b, xAxis: contextAxis(b), yAxis: b.axis(name, { type: "value", nameGap: 48, min: 0 }),
    legend: { ...b.legend, data: variants },
    tooltip: { ...b.tooltip, formatter: ({ data: d }) => cellText(d.cell) },
    series: variants.map((v) => ({ type: "line", name: v, symbol: symbol(v), symbolSize: 9, itemStyle: { color: color(v) }, lineStyle: { color: color(v) },
      data: data.cells.filter((c) => c.variant === v && c.n > 0 && c[key] !== null).map((c) => ({ value: [c.context, c[key]], cell: c })) })) });
}

// Rows are variant and node; a square's colour is how much slower it is than the fastest of its context.
const heatName = (cell, node) => (node.node ? `${cell.variant} · ${node.node}` : cell.variant);
const heatRows = () => [...new Set(data.cells.flatMap((c) => c.nodes.map((n) => heatName(c, n))))];

function heatChart(b) {
  const names = heatRows(), cells = [];
  contexts.forEach((n, x) => {
    const at = data.cells.filter((c) => c.context === n).flatMap((c) => c.nodes.map((node) => ({ name: heatName(c, node), t: node.median })));
    const best = Math.min(...at.map((s) => s.t));
    for (const { name, t } of at) cells.push({ value: [x, names.indexOf(name), Math.log2(t / best)], t, ratio: t / best, name, n });
  });
  // The text of a square is dark on light ones and light on dark ones.
  const most = Math.max(0.1, ...cells.map((c) => c.value[2]));
  const turn = (dark() ? 0.45 : 0.8) * most;
  for (const c of cells) c.label = { color: (c.value[2] > turn) === dark() ? "#111111" : "#ffffff" };
  return { ...b, legend: undefined, grid: { ...b.grid, left: 150, top: 16, bottom: 96 },
    xAxis: b.axis("context, tokens", { type: "category", data: contexts.map(contextLabel) }),
    yAxis: b.axis("", { type: "category", data: names, inverse: true, axisLabel: { color: b.ink, width: 136, overflow: "truncate" } }),
    visualMap: { min: 0, max: most, orient: "horizontal", left: "center", bottom: 0,
      textStyle: { color: b.ink }, text: ["slower", "fastest of its context"], calculable: false,
      inRange: { color: dark() ? ["#14324a", "#d98a3d", "#ffe08a"] : ["#e8f3fb", "#f4b26b", "#b3470b"] } },
    tooltip: { ...b.tooltip, formatter: ({ data: d }) => `${escape(d.name)} at ${d.n}<br>${seconds(d.t)}, ${d.ratio.toFixed(2)}x of the fastest` },
    series: [{ type: "heatmap", data: cells, label: { show: true, formatter: ({ data: d }) => `${d.ratio.toFixed(2)}x` } }] };
}

function repeatsChart(b) {
  const names = data.cells.filter((c) => c.n > 0).map((c) => `${c.variant} ${contextLabel(c.context)}`);
  return { ...b, grid: { ...b.grid, bottom: 96 }, legend: { ...b.legend, data: variants },
    xAxis: b.axis("", { type: "category", data: names, axisLabel: { color: b.ink, rotate: 60 } }),
    yAxis: b.axis("off its cell's median, %", { type: "value", nameGap: 44 }),
    tooltip: { ...b.tooltip, formatter: ({ data: d }) => `${escape(d.name)} #${d.run.repeat}<br>${seconds(d.run.prefill_s)}, ${d.value[1].toFixed(2)} %<br>job ${d.run.job}` },
    series: variants.map((v) => ({ type: "scatter", name: v, symbol: symbol(v), symbolSize: 7, itemStyle: { color: color(v), opacity: 0.75 },
      data: data.cells.filter((c) => c.variant === v && c.n > 0).flatMap((c) => c.runs.filter((r) => r.counted && r.prefill_s !== null).map((r) =>
        ({ value: [`${c.variant} ${contextLabel(c.context)}`, 100 * (r.prefill_s / c.median - 1)], name: `${c.variant} ${c.context}`, run: r }))) })) };
}

function historyChart(pick) {
  return (b) => {
    const h = data.history[pick()];
    const label = (p) => `${p.campaign} (${p.id})`;
    return { ...b, legend: undefined, grid: { ...b.grid, bottom: 96 },
      xAxis: b.axis("", { type: "category", data: h.points.map(label), axisLabel: { color: b.ink, rotate: 45 } }),
      yAxis: b.axis("prefill, s", { type: "value", scale: true, nameGap: 48 }),
      tooltip: { ...b.tooltip, formatter: ({ data: d }) => `${escape(label(d.point))}<br>${d.point.ended || ""}<br>${seconds(d.point.median)}, n = ${d.point.n}` },
      series: [{ type: "line", symbol: "circle", symbolSize: 8, itemStyle: { color: color(h.variant) }, lineStyle: { color: color(h.variant) },
        data: h.points.map((p) => ({ value: p.median, point: p })),
        markLine: { symbol: "none", silent: true, lineStyle: { color: b.ink, type: "dashed" }, label: { color: b.ink, formatter: "{b}" },
          data: h.changes.map((c) => ({ xAxis: c.at, name: `${c.ratio.toFixed(3)}x, p = ${c.p.toFixed(3)}` })) } }] };
  };
}

// What a run's readings are called and measured in, in the order of their charts. Those of GPUs share a chart. What is not
// here comes after them under its own name.
const READINGS = {
  power_w: { title: "Power", unit: "W" },
  sclk_mhz: { title: "Core clock", unit: "MHz" },
  mclk_mhz: { title: "Memory clock", unit: "MHz" },
  temp_c: { title: "Temperature", unit: "°C" },
  vram_bytes: { title: "VRAM in use", unit: "B" },
  busy_percent: { title: "GPU busy", unit: "%", max: 100 },
  mem_busy_percent: { title: "GPU memory busy", unit: "%", max: 100 },
  throttle: { title: "Throttling, as the driver counts it", unit: "" },
  cpu_percent: { title: "The node's CPUs busy", unit: "%", max: 100 },
  engine_cpu_percent: { title: "CPU of the engine", unit: "% of a core" },
  engine_rss_bytes: { title: "Memory of the engine", unit: "B" },
  mem_available_bytes: { title: "Memory free on the node", unit: "B" },
  load1: { title: "Load of the node, mean of a minute", unit: "" },
};
const PROGRESS = { load_percent: "loaded", prefill_percent: "prefilled", decode_percent: "decoded" };
const quantity = (name) => name.replace(/^gpu\d+\./, "");
const readingOf = (key) => READINGS[key] || { title: key, unit: "" };

function quantities() {
  const found = new Set(data.telemetry.flatMap((t) => Object.keys(t.readings)).map(quantity).filter((key) => !PROGRESS[key]));
  const known = Object.keys(READINGS).filter((key) => found.has(key));
  return [...known, ...[...found].filter((key) => !READINGS[key]).sort()];
}

// Bytes in the unit that fits the largest of them.
function scaled(reading, lines) {
  if (reading.unit !== "B") return { unit: reading.unit, by: 1 };
  const most = Math.max(0, ...lines.flatMap(([, points]) => points.map((p) => p[1])));
  return most >= 1e9 ? { unit: "GB", by: 1e9 } : { unit: "MB", by: 1e6 };
}

// How far the engine was, by phase: behind every reading of its run, on an axis of its own.
function progressSeries(b, readings) {
  return Object.entries(PROGRESS).filter(([key]) => readings[key]).map(([key, name], i) => ({ type: "line", name, yAxisIndex: 1, symbol: "none", z: 1,
    lineStyle: { width: 1, type: ["dotted", "dashed", "dotted"][i], color: b.ink }, itemStyle: { color: b.ink }, data: readings[key] }));
}

function telemetryChart(pick, key) {
  return (b) => {
    const { readings } = data.telemetry[pick()], reading = readingOf(key), progress = progressSeries(b, readings);
    const lines = Object.entries(readings).filter(([name]) => quantity(name) === key);
    const { unit, by } = scaled(reading, lines);
    const named = lines.map(([name, points]) => ({ type: "line", name: name === key ? reading.title : name.replace(/^gpu(\d+)\..*/, "GPU $1"), symbol: "none", z: 2,
      lineStyle: { width: 1.5 }, data: points.map(([t, v]) => [t, v / by]) }));
    return { ...b, grid: { ...b.grid, right: progress.length ? 56 : 24 }, legend: { ...b.legend, icon: "roundRect", itemHeight: 3, data: [...named, ...progress].map((s) => s.name) },
      tooltip: { ...b.tooltip, trigger: "axis", valueFormatter: (v) => (typeof v === "number" ? signif(v, 4) : "–") },
      xAxis: b.axis("s from the first reading", { type: "value", max: "dataMax" }),
      yAxis: [b.axis(unit, { type: "value", scale: true, nameGap: 44, ...(reading.max ? { min: 0, max: reading.max } : {}) }),
        b.axis("done, %", { type: "value", min: 0, max: 100, show: progress.length > 0, splitLine: { show: false }, nameGap: 34 })],
      series: [...named, ...progress] };
  };
}

function picker(id, label, options) {
  const select = el("select", { id, onchange: draw }, ...options.map((o, i) => el("option", { value: i }, o)));
  return { select, element: el("label", { for: id }, `${label} `, select), pick: () => Number(select.value) };
}

// ---- the page

function header() {
  const c = data.campaign;
  const button = el("button", { type: "button", id: "theme", onclick: () => setTheme(dark() ? "light" : "dark") }, "dark or light");
  page.append(el("header", {}, el("h1", {}, c.name), button,
    el("p", {}, `campaign ${c.id}, ${c.mode}, ${c.kind}, ${c.state}; submitted ${c.submitted}${c.submitted_by ? ` by ${c.submitted_by}` : ""}; report by ${c.by}, ${c.made}`)));
  document.title = `${c.name}: GRETA report`;
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  draw();
}

function columnsOf(rows, titles) {
  return Object.entries(titles).map(([key, title]) => {
    const values = rows.map((r) => r[key]).filter((v) => !missing(v));
    const number = values.length > 0 && values.every((v) => typeof v === "number");
    return { key, title, number, format: !number || values.every(Number.isInteger) ? "general" : "signif", digits: 5 };
  });
}

// A table that html.c made; null where it has no rows.
function given(id) {
  const t = data.tables.find((x) => x.id === id);
  return t && t.rows.length ? table(id, t.title, t.columns, t.rows) : null;
}

// Rows as a table of the columns that `titles` names, else the words that say why there are none.
const listed = (id, title, rows, titles, none) => rows.length ? table(id, title, columnsOf(rows, titles), rows) : el("p", {}, none);

function addSummary() {
  section("summary", "Summary", list(data.summary),
    el("h3", {}, data.against ? `Against ${data.against}` : "Against history"), list(data.verdicts));
}

function addSpeed() {
  const known = (key) => data.cells.some((c) => c[key] !== null);
  section("scaling", "Scaling", chart("scaling", "Prefill time against context, both logarithmic: medians with intervals, fits with "
    + "95 % bands. A dashed line is the fit of the contexts before a break, drawn on.", scalingChart, 460), given("scaling"), given("fits"));
  section("speed", "Throughput", chart("tokens", "Tokens per second against context.", lineChart("tokens_per_s", "tokens/s")),
    known("tflops") ? chart("tflops", "TFLOP/s against context, by the engine's own count of operations.", lineChart("tflops", "TFLOP/s")) : null,
    known("limit_percent") ? chart("limit", "Share of what the device reaches at most, against context.",
      lineChart("limit_percent", "of the limit, %")) : null);
  section("matrix", "Variant, context, node",
    chart("heat", "How much slower than the fastest of its context.", heatChart, 140 + 44 * heatRows().length));
  section("repeats", "Repeats", chart("repeats", "Each run against its cell's median.", repeatsChart));
}

function addHistory() {
  const p = picker("history-cell", "cell", data.history.map((h) => `${h.variant} at ${h.context}`));
  section("history", "History", p.element,
    chart("history", "Median of each comparable campaign; a dashed line is a change point.", historyChart(p.pick)),
    given("regress"), given("differs"));
}

function addTelemetry() {
  const p = picker("telemetry-run", "run", data.telemetry.map((t) => `${t.variant} at ${t.context} #${t.repeat} (${t.outcome})`));
  section("telemetry", "Telemetry", el("p", {}, "Readings while the engine ran. Dashed and dotted, on the right: how much of "
    + "loading, prefill (its layers) and decoding was done."), p.element,
    el("div", { class: "grid" }, ...quantities().map((key) => chart(`telemetry-${key}`, readingOf(key).title, telemetryChart(p.pick, key), 240))));
}

function addMarks() {
  section("marks", "Results left out", listed("marks", "Good results that say nothing about speed, and why", data.marks,
    { variant: "variant", context: "context", repeat: "repeat", attempt_id: "attempt", kind: "mark", node: "node", devices: "devices",
      prefill_s: "prefill s", reason: "reason" }, "None: every counted result is in the statistics."));
}

function addHangs() {
  const causes = data.causes.flatMap((c) => [
    el("h3", {}, `Campaign ${c.campaign} looked for what made attempt ${c.explains} hang`), list(c.words),
    ...c.tables.filter((t) => t.rows.length).map((t) => table(`cause-${c.campaign}-${t.id}`, t.title, t.columns, t.rows))]);
  section("hangs", "Hangs, timeouts and their causes", ...causes,
    listed("hangs", "Attempts that stopped, were too slow, or were judged", data.hangs,
      { variant: "variant", context: "context", repeat: "repeat", outcome: "outcome", class: "class", certainty: "certainty",
        verdict: "verdict", blamed: "blamed", phase: "phase", breadcrumb: "last at", node: "node", wall_s: "wall s",
        evidence: "evidence" }, "None."));
}

function addRuns() {
  const runs = data.cells.flatMap((c) => c.runs.map((r) => ({ variant: c.variant, context: c.context, ...r })));
  section("runs", "Every planned run", table("runs", "One row a run", columnsOf(runs, { variant: "variant", context: "context",
    repeat: "repeat", job: "job", text: "outcome", prefill_s: "prefill s", node: "node" }), runs));
}

function addEnvironment() {
  section("environment", "Environment", listed("environment", "Configuration of the nodes, several values where attempts differ",
    data.environment, { key: "key", value: "value" }, "Not known."));
}

function build() {
  header();
  addSummary();
  if (data.cells.some((c) => c.n > 0)) addSpeed();
  if (data.history.length) addHistory();
  if (data.telemetry.length) addTelemetry();
  addMarks();
  addHangs();
  addRuns();
  addEnvironment();
}

build();
setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
addEventListener("resize", () => charts.forEach((c) => c.chart.resize()));
// On paper it is light, whatever it is on the screen.
let onScreen = null;
addEventListener("beforeprint", () => { onScreen = document.documentElement.dataset.theme; setTheme("light"); });
addEventListener("afterprint", () => setTheme(onScreen));
window.greta = { data, charts }; // for tests
