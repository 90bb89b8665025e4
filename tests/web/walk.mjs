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
    "no task": "/tasks?text=nothing", login: "/login", scan: "/alerts?view=scan&at=1", "empty scan": "/alerts?view=scan&snr=1e9",
    "total flux": `/object/${site.object}?flux=total&scale=mag&forced=no&limits=no`,
    "part of a spectrum": `/spectrum/${site.spectrum}?from=5000&to=5500`,
    "visit with masks": `/visit/${site.instrument}/${site.visit}?mask=SAT,CR&stretch=zscale`,
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
  const drawn = "#light-curve .on-wide ";
  const point = page.locator(`${drawn}.point.detection[data-source="${site.sources[1]}"] .mark`);
  await point.click({ force: true });
  await page.waitForFunction((source) => document.querySelector("#stamps-title .mono").textContent === source, site.sources[1]);
  check(page.url().includes(`source=${site.sources[1]}`), "the address does not tell the chosen detection");
  const pictures = await page.locator("#stamps image").evaluateAll((all) => all.map((one) => one.getAttribute("href")));
  check(new Set(pictures).size === 3, `stamps: ${pictures}`);
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction((source) => document.querySelector("#stamps-title .mono").textContent === source, site.sources[2]);
  check((await page.locator("tr.chosen").count()) === 1, "the table does not tell the chosen detection");
  await page.goBack();
  await page.waitForFunction((source) => document.querySelector("#stamps-title .mono").textContent === source, site.sources[1]);
  await switch_curve(page, { kept: `source=${site.sources[1]}` });
  check(await page.evaluate(() => document.activeElement.id === "limits-switch"), "the focus is lost");
  await context.close();
}

async function switch_curve(page, { kept }) {
  const label = page.locator("#light-curve .on-wide svg .label").nth(1);
  const forced = page.locator("#light-curve .on-wide .point.forced");
  check((await forced.count()) > 0, "forced fluxes are not shown");
  for (const [id, told, text] of [["scale-mag", "scale=mag", "difference, mag"], ["flux-total", "flux=total", "total, mag"], ["scale-flux", "flux=total", "total flux"]]) {
    await page.locator(`#${id}`).click();
    await page.locator(`#light-curve .on-wide svg .label:has-text("${text}")`).first().waitFor();
    check(page.url().includes(told) && page.url().includes(kept), `${id}: the address is ${page.url()}`);
    check((await page.locator(`#${id}[aria-current]`).count()) === 1, `${id} is not marked`);
  }
  check((await label.count()) === 1, "the axes have no labels");
  await page.locator("#forced-switch").click();
  await page.waitForURL(/forced=no/);
  check((await forced.count()) === 0, "forced fluxes do not go");
  await page.locator("#forced-switch").click();
  await page.waitForURL((url) => !url.search.includes("forced"));
  await page.locator("#limits-switch").click();
  await page.waitForURL(/limits=no/);
  check((await page.locator("#light-curve .on-wide .upper-limit").count()) === 0, "limits do not go");
}

async function scan() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true });
  const page = await context.newPage();
  watch(page);
  await page.goto(`${address}/alerts?n=2`, { waitUntil: "load" });
  await page.locator('a[href*="view=scan"]').click();
  const shown = () => page.locator("#scan").getAttribute("data-source");
  const seen = [await shown()];
  await page.keyboard.press("r");
  check((await page.locator('[data-mark="1"]').getAttribute("aria-pressed")) === "true", "r does not mark");
  for (let number = 0; number < 3; number += 1) {
    await Promise.all([page.waitForNavigation(), page.keyboard.press("j")]);
    seen.push(await shown());
  }
  check(new Set(seen).size === 4, `the scan shows ${seen}`);
  await page.keyboard.press("b");
  for (const source of seen.slice(0, 3).reverse()) {
    await Promise.all([page.waitForNavigation(), page.keyboard.press("k")]);
    check((await shown()) === source, `k leads to ${await shown()}, not ${source}`);
  }
  check((await page.locator('[data-mark="1"]').getAttribute("aria-pressed")) === "true", "a mark is lost");
  const [file] = await Promise.all([page.waitForEvent("download"), page.locator("#save-marks").click()]);
  const table = readFileSync(await file.path(), "utf-8").trim().split("\n");
  check(table[0] === "diaSourceId,label" && table.length === 3, `the table is ${table}`);
  check(table.includes(`${seen[0]},1`) && table.includes(`${seen[3]},0`), `the table is ${table}`);
  await context.close();
}

async function spectrum_parts() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  watch(page);
  await page.goto(`${address}/spectrum/${site.spectrum}?z=0.05`, { waitUntil: "load" });
  const range = () => page.locator(".on-wide .spectral-lines").getAttribute("data-scale");
  const whole = (await range()).split(" ").map(Number);
  await page.locator("#zoom-nearer").click();
  await page.waitForURL(/from=/);
  const nearer = (await range()).split(" ").map(Number);
  check(nearer[1] - nearer[0] < 0.6 * (whole[1] - whole[0]), `nearer shows ${nearer}`);
  const box = await page.locator(".on-wide svg.figure").boundingBox();
  await page.mouse.move(box.x + 0.4 * box.width, box.y + 0.6 * box.height);
  await page.mouse.down();
  await page.mouse.move(box.x + 0.5 * box.width, box.y + 0.6 * box.height, { steps: 3 });
  const before = page.url();
  await page.mouse.up();
  await page.waitForURL((url) => url.href !== before);
  const drawn = (await range()).split(" ").map(Number);
  check(drawn[1] - drawn[0] < 0.2 * (nearer[1] - nearer[0]), `what was drawn over shows ${drawn}`);
  await page.locator("#zoom-whole").click();
  await page.waitForURL((url) => !url.search.includes("from"));
  check((await page.locator(".masked title").count()) > 0, "no mask tells its bits");
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
  const line = page.locator('.on-wide .spectral-line[data-rest="6564.61"]');
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
  await page.locator('#stamps a[rel="next"]').click();
  await page.waitForURL(new RegExp(`source=${site.sources[1]}`));
  await switch_curve(page, { kept: `source=${site.sources[1]}` });
  await page.goto(`${address}/alerts?view=scan`, { waitUntil: "load" });
  check(await page.locator('[data-mark="1"]').isHidden(), "a button that does nothing is shown");
  await page.locator('a[rel="next"]').click();
  await page.waitForURL(/at=1/);
  await page.goto(`${address}/spectrum/${site.spectrum}`, { waitUntil: "load" });
  await page.locator("#zoom-nearer").click();
  await page.waitForURL(/from=/);
  await page.goto(`${address}/visit/${site.instrument}/${site.visit}`, { waitUntil: "load" });
  await page.locator("#stretch-linear").click();
  await page.waitForURL(/stretch=linear/);
  await page.locator("#mask-choice summary").click();
  await page.locator("#mask-SAT").click();
  await page.waitForURL(/mask=SAT/);
  check((await page.locator("#mask-SAT svg").count()) === 1, "the plane that is shown has no colour");
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
await attempt("scan", scan);
await attempt("parts of a spectrum", spectrum_parts);
await attempt("without script", without_script);
await browser.close();
console.log(JSON.stringify({ problems, steps }));
