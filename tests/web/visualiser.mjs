// Luigi's page in the same server, as a reader sees it: to the page of a task, and back to the graph.
// node visualiser.mjs ADDRESS TASK PACKAGES [FOLDER]: one line of JSON on standard output.
import { createRequire } from "node:module";

const [address, task, packages, folder] = process.argv.slice(2);
const { chromium } = createRequire(`${packages}/`)("playwright-core");
const problems = [];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });

function check(fact, what) {
  if (!fact) problems.push(what);
}

context.on("page", (page) => {
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", (error) => problems.push(`script: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!/^(data|blob):/.test(url) && !url.startsWith(`${address}/`)) problems.push(`asks elsewhere: ${url}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) problems.push(`${response.status()} ${response.url()}`);
  });
});

async function picture(page, name) {
  if (folder) await page.screenshot({ path: `${folder}/visualiser-${name}.png` });
}

try {
  const page = await context.newPage();
  await page.goto(`${address}/static/visualiser/index.html#tab=tasks`, { waitUntil: "load" });
  const link = page.locator(`#taskTable a[href="${address}/task/${task}"]`).first();
  await link.waitFor();
  const health = page.frameLocator('iframe[title="Health of the scheduler"]').locator("p");
  check(/\d+ workers?\s+.*\d+ ready/s.test(await health.textContent()), "no line tells how the scheduler is");
  await picture(page, "tasks");
  const [opened] = await Promise.all([context.waitForEvent("page"), link.click()]);
  await opened.waitForLoadState("load");
  check(opened.url() === `${address}/task/${task}`, `the tracking link leads to ${opened.url()}`);
  check((await opened.locator("h1").textContent()).includes(task.split("_")[0]), "no page of the task");
  await opened.locator('a:text("live graph")').click();
  await opened.locator("#graphPlaceholder svg .node, #graphPlaceholder svg circle").first().waitFor();
  const names = await opened.locator("#graphPlaceholder svg text").allTextContents();
  check(names.length > 0, "the graph has no names");
  check(opened.url().includes(`taskId=${encodeURIComponent(task)}`), `the graph is of ${opened.url()}`);
  await picture(opened, "graph");
  await opened.goBack();
  await opened.waitForURL(`${address}/task/${task}`);
} catch (error) {
  problems.push(error.message.split("\n").slice(0, 3).join(" "));
}
await browser.close();
console.log(JSON.stringify({ problems }));
