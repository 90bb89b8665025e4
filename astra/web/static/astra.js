// What the pages do beyond links: keys, parts that are brought anew, the points of a light curve, the redshift
// of lines, the marks of a scan. But for those everything is also a link or a form: the pages work without it.
"use strict";

(() => {
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  document.documentElement.classList.add("scripted");

  // -- keys: j and k go through the items of a list, else to the next and the previous page ---------------

  let place = -1;

  function go(step) {
    const items = all(".item");
    if (items.length && place + step >= 0 && place + step < items.length) {
      items.forEach((item) => item.classList.remove("here"));
      place += step;
      items[place].classList.add("here");
      items[place].scrollIntoView({ block: "nearest" });
      const link = find("a", items[place]);
      if (link) link.focus({ preventScroll: true });
      return;
    }
    const further = find(step > 0 ? 'a[rel~="next"]' : 'a[rel~="prev"]');
    if (further) further.click();
  }

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=range]), select, textarea");
    if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "j") go(1);
    else if (event.key === "k") go(-1);
    else if (scan && scan.dataset.source && event.key === "r") mark(1);
    else if (scan && scan.dataset.source && event.key === "b") mark(0);
    else if (curve() && event.key === "ArrowRight") step_detection(1, event);
    else if (curve() && event.key === "ArrowLeft") step_detection(-1, event);
  });

  // -- parts of a page: a link that changes only them brings them without loading the page anew ------------

  let asked = 0;
  let moved = "";  // redshift of the lines, where the reader has moved them

  async function swap(address, { keep = true, focus = "" } = {}) {
    const number = ++asked;
    const answer = await fetch(address, { headers: { Accept: "text/html" } });
    if (number !== asked) return;
    if (!answer.ok) {
      location.assign(address);
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of all("[data-part]")) {
      const made = page.getElementById(part.id);
      if (made) part.replaceWith(document.adoptNode(made));
    }
    if (keep) history.pushState(null, "", address);
    prepare();
    const again = focus && document.getElementById(focus);
    if (again) again.focus({ preventScroll: true });
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-swap]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const address = new URL(link.href);
    if (moved) address.searchParams.set("z", moved);
    swap(address, { focus: link.id });
  });
  if (find("[data-part]")) {
    window.addEventListener("popstate", () => swap(new URL(location.href), { keep: false }));
  }

  // -- the light curve ------------------------------------------------------------------------------------

  const curve = () => find("#light-curve");
  const chosen = () => (curve() ? curve().dataset.chosen : "");

  function detections() {
    const drawn = all("svg", curve()).find((plot) => plot.getBoundingClientRect().width > 0);
    const place_of = (point) => point.getBoundingClientRect().left;
    return drawn ? all(".point.detection", drawn).sort((a, b) => place_of(a) - place_of(b)) : [];
  }

  function step_detection(step, event) {
    if (event.target.closest("[role=region]")) return;  // the keys scroll it
    const points = detections();
    const next = points[points.findIndex((point) => point.dataset.source === chosen()) + step];
    if (next) {
      event.preventDefault();
      show(next.dataset.source);
    }
  }

  function show(source) {
    const address = new URL(location.href);
    address.searchParams.set("source", source);
    swap(address);
  }

  document.addEventListener("click", (event) => {
    const point = event.target.closest("#light-curve .point.detection");
    if (point) show(point.dataset.source);
  });

  function prepare() {
    if (!curve()) return;
    for (const point of all(".point.detection", curve())) {
      point.classList.toggle("chosen", point.dataset.source === chosen());
    }
  }

  prepare();

  // -- the redshift of lines, and the part of a spectrum that is drawn -------------------------------------

  const scale_of = (plot) => find(".spectral-lines", plot).dataset.scale.split(" ").map(Number);

  function mark_lines(z) {
    if (!Number.isFinite(z)) return;
    for (const lines of all(".spectral-lines")) {
      const [low, high, start, end] = lines.dataset.scale.split(" ").map(Number);
      for (const line of all(".spectral-line", lines)) {
        const at = start + ((Number(line.dataset.rest) * (1 + z) - low) / (high - low)) * (end - start);
        line.setAttribute("transform", `translate(${at.toFixed(2)} 0)`);
        line.classList.toggle("outside", at < start || at > end);
      }
    }
    find("#z-text").textContent = z.toFixed(5);
  }

  document.addEventListener("input", (event) => {
    const box = find("#redshift");
    if (event.target.id === "redshift-slider") box.value = event.target.value;
    else if (event.target !== box || !box) return;
    moved = box.value;
    mark_lines(Number(box.value));
  });

  // A part that is drawn over with the pointer is drawn large.
  let drag = null;

  function place_in(plot, event) {
    const [, , start, end] = scale_of(plot);
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
    return Math.min(Math.max(point.x, start), end);
  }

  function draw_range(event) {
    const [x, width] = [Math.min(drag.from, drag.to), Math.abs(drag.to - drag.from)];
    drag.box.setAttribute("x", x);
    drag.box.setAttribute("width", width);
    event.preventDefault();
  }

  document.addEventListener("pointerdown", (event) => {
    const plot = event.target.closest("#spectrum-part svg.figure");
    if (!plot || event.button || !find(".spectral-lines", plot)) return;
    const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    box.setAttribute("class", "range");
    box.setAttribute("height", plot.viewBox.baseVal.height);
    const from = place_in(plot, event);
    drag = { plot, box, from, to: from };
    plot.append(box);
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag) return;
    drag.to = place_in(drag.plot, event);
    draw_range(event);
  });
  document.addEventListener("pointercancel", () => {
    if (drag) drag.box.remove();
    drag = null;
  });
  document.addEventListener("pointerup", () => {
    if (!drag) return;
    const { plot, box, from, to } = drag;
    drag = null;
    box.remove();
    if (Math.abs(to - from) < 6) return;
    const [low, high, start, end] = scale_of(plot);
    const wave = (x) => (low + ((x - start) / (end - start)) * (high - low)).toFixed(2);
    const address = new URL(location.href);
    address.searchParams.set("from", wave(Math.min(from, to)));
    address.searchParams.set("to", wave(Math.max(from, to)));
    if (moved) address.searchParams.set("z", moved);
    swap(address);
  });

  // -- marks of a scan: they stay in this browser, and leave it as a table --------------------------------

  const scan = find("#scan");
  const MARKS = "astra.marks";

  function marks() {
    try {
      return JSON.parse(localStorage.getItem(MARKS)) || {};
    } catch {
      return {};
    }
  }

  function mark(label) {
    const known = marks();
    if (label === null || known[scan.dataset.source] === label) delete known[scan.dataset.source];
    else known[scan.dataset.source] = label;
    localStorage.setItem(MARKS, JSON.stringify(known));
    tell_marks();
  }

  function tell_marks() {
    const known = marks();
    for (const button of all("[data-mark]")) {
      button.setAttribute("aria-pressed", String(String(known[scan.dataset.source]) === button.dataset.mark));
    }
    const n = Object.keys(known).length;
    find("#n-marks").textContent = n === 1 ? "1 mark" : `${n} marks`;
  }

  function save_marks() {
    const lines = Object.entries(marks()).map(([source, label]) => `${source},${label}\n`);
    const file = new Blob(["diaSourceId,label\n", ...lines], { type: "text/csv" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = "labels.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  if (scan && scan.dataset.source) {
    tell_marks();
    for (const button of all("[data-mark]")) button.addEventListener("click", () => mark(Number(button.dataset.mark)));
    find("#save-marks").addEventListener("click", save_marks);
    find("#forget-marks").addEventListener("click", () => {
      localStorage.removeItem(MARKS);
      tell_marks();
    });
  }
})();
