// f_html.mjs PAGE OUT MODULES causes | RUN READINGS: opens a report in Chromium, from disk and without a network, and holds it
// against its own data; of a report on hangs only what was found of their causes. Then that of a run against its READINGS, rows of
// the view `telemetry`. Screenshots land in OUT. Exit code 77: there is no Chromium.
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import assert from "node:assert/strict";

const [page_path, out, modules, run_path, readings_path] = process.argv.slice(2);
const { chromium } = createRequire(`${modules}/`)("playwright-core");
const browser_path = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
if (!browser_path) {
  console.log("skipped: no Chromium is installed");
  process.exit(77);
}
mkdirSync(out, { recursive: true });

const browser = await chromium.launch({ executablePath: browser_path, args: ["--no-sandbox", "--disable-gpu"] });
const complaints = [];

async function open(options, path = page_path) {
  const context = await browser.newContext({ offline: true, ...options });
  const page = await context.newPage();
  page.on("console", (m) => { if (["error", "warning"].includes(m.type())) complaints.push(m.text()); });
  page.on("pageerror", (e) => complaints.push(String(e)));
  page.on("request", (r) => { if (!r.url().startsWith("file:") && !r.url().startsWith("data:")) complaints.push(`asks for ${r.url()}`); });
  await page.goto(`file://${path}`);
  await page.waitForSelector("#chart-scaling svg, #summary");
  return page;
}

const series = (page, chart) => page.evaluate((id) => {
  const c = window.greta.charts.find((x) => x.box.id === id);
  return c.chart.getOption().series.map((s) => ({ type: s.type, name: s.name,
    values: (s.data || []).map((d) => (Array.isArray(d) ? d : d.value)) }));
}, chart);

const column = (page, table, index) => page.$$eval(`#table-${table} tbody tr`, (rows, i) => rows.map((r) => r.cells[i].textContent), index);

async function charts_have_the_points(page) {
  const data = await page.evaluate(() => window.greta.data);
  const measured = data.cells.filter((c) => c.n > 0);
  const dots = (await series(page, "chart-scaling")).filter((s) => s.type === "scatter").flatMap((s) => s.values.map((v) => [s.name, ...v]));
  assert.deepEqual(dots, measured.map((c) => [c.variant, c.context, c.median]));
  const runs = (await series(page, "chart-repeats")).flatMap((s) => s.values);
  assert.equal(runs.length, measured.reduce((n, c) => n + c.n, 0));
  const heat = (await series(page, "chart-heat"))[0].values;
  assert.ok(heat.length >= measured.length);
  if (data.history.length) {
    const line = (await series(page, "chart-history"))[0].values;
    assert.deepEqual(line, data.history[0].points.map((p) => p.median));
  }
}

async function sections_are_there(page) {
  const ids = await page.$$eval("main > section", (s) => s.map((x) => x.id));
  for (const id of ["summary", "scaling", "speed", "matrix", "repeats", "history", "marks", "hangs", "runs", "environment"])
    assert.ok(ids.includes(id), `no section ${id}`);
}

// Each search with all its sentences, and its tables with all their rows and figures.
async function causes_are_told(page) {
  const causes = await page.evaluate(() => window.greta.data.causes);
  assert.ok(causes.length > 0, "the report tells of no search");
  for (const c of causes) {
    const told = await page.locator("#hangs").innerText();
    for (const words of c.words)
      assert.ok(told.includes(words), `not told: ${words}`);
    for (const t of c.tables.filter((x) => x.rows.length)) {
      const cells = await page.$$eval(`#table-cause-${c.campaign}-${t.id} tbody tr`, (rows) => rows.map((r) => r.innerText));
      assert.equal(cells.length, t.rows.length);
      c.factors.forEach((f, i) => assert.ok(t.id !== "factors" || cells[i].includes(f.name) && cells[i].includes(`${f.off.hung} of ${f.off.runs}`), cells[i]));
    }
  }
  await page.locator("#hangs").screenshot({ path: `${out}/report-causes.png` });
}

async function tables_sort(page) {
  const header = (i) => page.locator("#table-scaling thead th").nth(i);
  await header(3).locator("button").click();
  assert.equal(await header(3).getAttribute("aria-sort"), "ascending");
  const up = (await column(page, "scaling", 3)).filter((s) => s !== "–").map(Number);
  assert.deepEqual(up, [...up].sort((a, b) => a - b));
  await header(3).locator("button").focus();
  await page.keyboard.press("Enter");
  assert.equal(await header(3).getAttribute("aria-sort"), "descending");
  const down = (await column(page, "scaling", 3)).filter((s) => s !== "–").map(Number);
  assert.deepEqual(down, up.reverse());
}

async function tables_copy(page) {
  await page.evaluate(() => {
    Object.defineProperty(navigator, "clipboard", { value: { writeText: async (t) => { window.copied = t; } } });
  });
  await page.locator("#table-scaling .copy").click();
  const lines = (await page.evaluate(() => window.copied)).trim().split("\r\n");
  const data = await page.evaluate(() => window.greta.data);
  assert.equal(lines.length, data.cells.length + 1);
  assert.ok(lines[0].startsWith("variant,context,n,prefill_s"));
}

async function theme_changes(page) {
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await paper();
  await page.locator("#theme").focus();
  await page.keyboard.press("Space");
  assert.notEqual(await paper(), before);
  await page.locator("#theme").click();
  assert.equal(await paper(), before);
}

// On A4 with 10 mm of margin: light, nothing to press, and as wide as the paper.
async function prints(page) {
  await page.setViewportSize({ width: 718, height: 1047 });
  await page.emulateMedia({ media: "print" });
  await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  await fits_the_window(page);
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(255, 255, 255)");
  assert.equal(await page.locator("#theme").isVisible(), false);
  assert.equal(await page.locator(".copy").first().isVisible(), false);
  const wide = await page.$$eval("table, .chart svg", (all) => all.filter((e) => e.getBoundingClientRect().right > innerWidth + 1).length);
  assert.equal(wide, 0, "something is wider than the paper");
  await page.screenshot({ path: `${out}/report-print.png`, fullPage: true });
  await page.evaluate(() => dispatchEvent(new Event("afterprint")));
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
}

async function fits_the_window(page) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(over <= 0, `the page is ${over} px wider than its window`);
}

// A reading and the progress of prefill, each on its own axis and in its unit.
async function telemetry_has_the_readings(page) {
  const rows = JSON.parse(readFileSync(readings_path, "utf8"));
  const first = Math.min(...rows.map((r) => r.t_ns));
  const points = (name, by = 1) => rows.filter((r) => r.name === name).map((r) => [(r.t_ns - first) / 1e9, r.value / by]);
  const near = (a, b) => { // times of nanoseconds since 1970 are no doubles
    assert.equal(a.length, b.length);
    a.forEach((p, i) => p.forEach((x, k) => assert.ok(Math.abs(x - b[i][k]) < 1e-3 * (1 + Math.abs(x)), `${p} is not ${b[i]}`)));
  };
  const [watts, prefilled] = await series(page, "chart-telemetry-power_w");
  assert.deepEqual([watts.name, prefilled.name], ["GPU 0", "prefilled"]);
  assert.ok(watts.values.length >= 3 && watts.values.every((v) => v[1] === 650));
  near(points("gpu0.power_w"), watts.values);
  near(points("prefill_percent"), prefilled.values);
  near(points("mem_available_bytes", 1e9), (await series(page, "chart-telemetry-mem_available_bytes"))[0].values);
  const titles = await page.evaluate(() => window.greta.charts.find((x) => x.box.id === "chart-telemetry-power_w").chart.getOption().yAxis.map((y) => y.name));
  assert.deepEqual(titles, ["W", "done, %"]);
}

const desktop = { viewport: { width: 1200, height: 900 } }, phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
async function report_is_right(name, options) {
  const page = await open(options);
  await fits_the_window(page);
  await page.screenshot({ path: `${out}/report-${name}.png`, fullPage: true });
  if (name === "light") {
    await sections_are_there(page);
    await charts_have_the_points(page);
    await tables_sort(page);
    await tables_copy(page);
    await theme_changes(page);
    await page.pdf({ path: `${out}/report-print.pdf` });
  }
  if (name === "dark")
    await prints(page);
  await page.context().close();
}

async function run_is_right(name, options) {
  const page = await open(options, run_path);
  await fits_the_window(page);
  await telemetry_has_the_readings(page);
  await page.screenshot({ path: `${out}/run-${name}.png`, fullPage: true });
  await page.context().close();
}

async function causes_are_right() {
  const page = await open({ ...desktop, colorScheme: "light" });
  await fits_the_window(page);
  await causes_are_told(page);
  await page.context().close();
}

if (run_path === "causes") {
  await causes_are_right();
} else {
  await report_is_right("light", { ...desktop, colorScheme: "light" });
  await report_is_right("dark", { ...desktop, colorScheme: "dark" });
  await report_is_right("phone", { ...phone, colorScheme: "light" });
  await run_is_right("light", { ...desktop, colorScheme: "light" });
  await run_is_right("phone", { ...phone, colorScheme: "dark" });
}
await browser.close();
assert.deepEqual(complaints, []);
console.log(`screenshots: ${out}`);
