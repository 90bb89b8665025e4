// Walks the pages in Chromium as a reader does, and says what went wrong: one line of JSON on standard output.
// node walk.mjs ADDRESS SITE PACKAGES [FOLDER]: SITE is JSON of example_site.as_json; FOLDER takes screenshots.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [address, site_text, packages, folder] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf-8");
const site = JSON.parse(site_text);
const problems = [];
const steps = [];
const VIEWS = [["light", 1280], ["dark", 390], ["light", 390], ["dark", 1280]];

function check(fact, what) {
  if (!fact) problems.push(what);
}

function watch(page) {
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") problems.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`script: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${address}/`) && !url.startsWith("data:")) problems.push(`asks elsewhere: ${url}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) problems.push(`${response.status()} ${response.url()}`);
  });
}

async function look(page, name, { quick = false } = {}) {
  const fits = await page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth);
  check(fits, `${name} is wider than its window`);
  check(!(await page.evaluate(() => window.harmed)), `${name} ran a hostile text`);
  check((await page.locator("h1").count()) === 1, `${name} has not one headline`);
  if (!quick) {
    // axe runs as the page's own script would not be allowed to: it is put in by the driver.
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
    for (const one of found.violations.filter((rule) => ["serious", "critical"].includes(rule.impact))) {
      problems.push(`axe: ${name}: ${one.id}: ${one.nodes.slice(0, 2).map((node) => node.html).join(" | ").slice(0, 300)}`);
    }
  }
  if (folder) await page.screenshot({ path: `${folder}/${name.replace(/\W+/g, "-")}.png`, fullPage: true });
}

async function follow(page, selector, name, options) {
  const link = page.locator(selector).first();
  check(await link.count(), `${name}: no link ${selector}`);
  await link.scrollIntoViewIfNeeded();
  await link.click();
  await page.waitForLoadState("load");
  steps.push(name);
  await look(page, name, options);
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });

async function walk(scheme, width, options) {
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 } });
  const page = await context.newPage();
  watch(page);
  const at = `${scheme} ${width}`;
  await page.goto(`${address}/`, { waitUntil: "load" });
  await look(page, `nights ${at}`, options);
  await follow(page, `.table a[href="/night/${site.instrument}/${site.night}"]`, `night ${at}`, options);
  await follow(page, `.table a[href="/visit/${site.instrument}/${site.visit}"]`, `visit ${at}`, options);
  await follow(page, `.table a[href^="/visit/${site.instrument}/${site.visit}/detector/"]`, `detector ${at}`, options);
  await follow(page, `nav[aria-label="Pages"] a[href^="/alerts"]`, `alerts of the night ${at}`, options);
  await page.locator(".stamps img").first().evaluate((image) => image.decode());
  await follow(page, `.alert-grid h2 a[href*="/object/${site.object}"]`, `object ${at}`, options);
  await page.goto(`${address}/task/${site.failed}`);
  await look(page, `task that failed ${at}`, options);
  await follow(page, `a[href="/task/${site.done}"]`, `task that it needed ${at}`, options);
  const further = options.quick ? {} : {
    tasks: "/tasks", "hostile task": `/task/${site.hostile}`, batch: `/task/${site.batch}`, spectra: "/spectra",
    spectrum: `/spectrum/${site.spectrum}`, about: "/about", efficiency: `/efficiency/${site.instrument}/${site.night}`,
    "no task": "/tasks?text=nothing", login: "/login",
  };
  for (const [name, path] of Object.entries(further)) {
    await page.goto(`${address}${path}`, { waitUntil: "load" });
    await look(page, `${name} ${at}`, options);
  }
  await context.close();
}

async function light_curve() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  watch(page);
  await page.goto(`${address}/object/${site.object}?source=${site.sources[0]}`, { waitUntil: "load" });
  const title = page.locator("#stamps-title .mono");
  check((await title.textContent()) === site.sources[0], "the chosen detection is not shown");
  const point = page.locator(`[data-plot="flux"] .point.detection[data-source="${site.sources[1]}"] .mark`);
  await point.click({ force: true });
  await page.waitForFunction((source) => document.querySelector("#stamps-title .mono").textContent === source, site.sources[1]);
  check(page.url().includes(`source=${site.sources[1]}`), "the address does not tell the chosen detection");
  const pictures = await page.locator("#stamps image").evaluateAll((all) => all.map((one) => one.getAttribute("href")));
  check(new Set(pictures).size === 3, `stamps: ${pictures}`);
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction((source) => document.querySelector("#stamps-title .mono").textContent === source, site.sources[2]);
  await page.goBack();
  await page.waitForFunction((source) => document.querySelector("#stamps-title .mono").textContent === source, site.sources[1]);
  await page.locator('[data-scale="mag"]').click();
  check(await page.locator('[data-plot="mag"]').isVisible(), "magnitudes are not shown");
  check(await page.locator('[data-plot="flux"]').isHidden(), "fluxes are still shown");
  check(page.url().includes("scale=mag"), "the address does not tell the scale");
  await page.locator('[data-scale="flux"]').click();
  const forced = page.locator('[data-plot="flux"] .point.forced').first();
  check(await forced.isVisible(), "forced fluxes are not shown");
  await page.locator('[data-toggle="forced"]').uncheck();
  check(await forced.isHidden(), "forced fluxes do not go");
  await context.close();
}

async function keys_and_forms() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  watch(page);
  await page.goto(`${address}/alerts?n=4`, { waitUntil: "load" });
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  check((await page.locator(".item.here").count()) === 1, "j chooses no alert");
  check(await page.locator(".item").nth(1).evaluate((item) => item.classList.contains("here")), "j j is not the second");
  for (let number = 0; number < 3; number += 1) await page.keyboard.press("j");
  await page.waitForURL(/before=/);
  await page.goto(`${address}/tasks`, { waitUntil: "load" });
  await page.selectOption('select[name="state"]', "failed");
  await page.locator('input[name="text"]').fill("psf matching");
  await page.locator(".filters button").click();
  await page.waitForURL(/state=failed/);
  check((await page.locator("tbody tr").count()) === 1, "the form does not choose one task");
  await page.goto(`${address}/spectrum/${site.spectrum}?z=0.05`, { waitUntil: "load" });
  const line = page.locator('.spectral-line[data-rest="6564.61"]');
  const before = await line.getAttribute("transform");
  await page.locator("#redshift-slider").fill("0.1");
  check((await line.getAttribute("transform")) !== before, "the slider moves no line");
  await context.close();
}

async function forms_of_pages() {
  const context = await browser.newContext();
  const page = await context.newPage();
  for (const path of ["/tasks", "/alerts", `/object/${site.object}`, `/task/${site.failed}`]) {
    await page.goto(`${address}${path}`, { waitUntil: "load" });
    for (const form of ["JSON", "CSV"]) {
      const href = await page.locator(`footer a:text-is("${form}")`).getAttribute("href");
      const answer = await context.request.get(`${address}${href}`);
      check(answer.ok(), `${form} of ${path}: ${answer.status()}`);
      if (form === "JSON") JSON.parse(await answer.text());
      else check((await answer.text()).includes(","), `CSV of ${path}`);
    }
  }
  await context.close();
}

async function without_script() {
  const context = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  await page.goto(`${address}/object/${site.object}?source=${site.sources[0]}`, { waitUntil: "load" });
  check(await page.locator('[data-toggle="forced"]').isHidden(), "a switch that does nothing is shown");
  await page.locator('#stamps a[rel="next"]').click();
  await page.waitForURL(new RegExp(`source=${site.sources[1]}`));
  await page.locator('[data-scale="mag"]').click();
  await page.waitForURL(/scale=mag/);
  check(await page.locator('[data-plot="mag"]').isVisible(), "magnitudes are not shown without a script");
  await context.close();
}

async function attempt(name, work) {
  try {
    await work();
  } catch (error) {
    problems.push(`${name}: ${error.message.split("\n").slice(0, 3).join(" ")}`);
  }
}

for (const [number, [scheme, width]] of VIEWS.entries()) {
  await attempt(`${scheme} ${width}`, () => walk(scheme, width, { quick: number > 1 }));
}
await attempt("light curve", light_curve);
await attempt("keys and forms", keys_and_forms);
await attempt("JSON and CSV", forms_of_pages);
await attempt("without script", without_script);
await browser.close();
console.log(JSON.stringify({ problems, steps }));
