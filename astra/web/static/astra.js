// What the pages do beyond links: keys, the switches of a light curve, its points, the redshift of lines.
// Everything here is also a link or a form: the pages work without it.
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
    const typing = event.target.closest("input, select, textarea");
    if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "j") go(1);
    else if (event.key === "k") go(-1);
    else if (find("#light-curve") && event.key === "ArrowRight") step_detection(1, event);
    else if (find("#light-curve") && event.key === "ArrowLeft") step_detection(-1, event);
  });

  // -- the light curve ------------------------------------------------------------------------------------

  const curve = find("#light-curve");
  let asked = 0;

  function detections() {
    const shown = all("[data-plot]", curve).find((plot) => !plot.hidden);
    const place_of = (point) => point.getBoundingClientRect().left;
    return all(".point.detection", shown).sort((a, b) => place_of(a) - place_of(b));
  }

  function chosen() {
    return new URLSearchParams(location.search).get("source") || curve.dataset.chosen || "";
  }

  function step_detection(step, event) {
    if (event.target.closest("[role=region]")) return;  // the keys scroll it
    const points = detections();
    const now = points.findIndex((point) => point.dataset.source === chosen());
    const next = points[now + step];
    if (next) {
      event.preventDefault();
      show(next.dataset.source);
    }
  }

  async function show(source, keep = true) {
    const address = new URL(location.href);
    address.searchParams.set("source", source);
    curve.dataset.chosen = source;
    const number = ++asked;
    const answer = await fetch(address, { headers: { Accept: "text/html" } });
    if (!answer.ok || number !== asked) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["stamps"]) find(`#${id}`).replaceWith(document.adoptNode(find(`#${id}`, page)));
    for (const plot of all("[data-plot]", curve)) {
      const made = find(`[data-plot="${plot.dataset.plot}"]`, page);
      plot.replaceChildren(...[...made.childNodes].map((node) => document.adoptNode(node)));
    }
    if (keep) history.pushState(null, "", address);
    prepare();
  }

  function prepare() {
    for (const point of all(".point.detection", curve)) {
      const own = point.dataset.source === chosen();
      point.classList.toggle("chosen", own);
      point.setAttribute("tabindex", "-1");
    }
  }

  function set_scale(scale) {
    for (const plot of all("[data-plot]", curve)) plot.hidden = plot.dataset.plot !== scale;
    for (const link of all("[data-scale]")) {
      if (link.dataset.scale === scale) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    const address = new URL(location.href);
    if (scale === "flux") address.searchParams.delete("scale");
    else address.searchParams.set("scale", scale);
    history.replaceState(null, "", address);
  }

  if (curve) {
    prepare();
    curve.addEventListener("click", (event) => {
      const point = event.target.closest(".point.detection");
      if (point) show(point.dataset.source);
    });
    for (const box of all("[data-toggle]")) {
      const apply = () => curve.classList.toggle(`no-${box.dataset.toggle}`, !box.checked);
      box.addEventListener("change", apply);
      apply();
    }
    for (const link of all("[data-scale]")) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        set_scale(link.dataset.scale);
      });
    }
    window.addEventListener("popstate", () => {
      if (chosen()) show(chosen(), false);
      else location.reload();
    });
  }

  // -- the redshift of lines ------------------------------------------------------------------------------

  const slider = find("#redshift-slider");

  function mark_lines(z) {
    const lines = find(".spectral-lines");
    if (!lines || !Number.isFinite(z)) return;
    const [low, high, start, end] = lines.dataset.scale.split(" ").map(Number);
    for (const line of all(".spectral-line", lines)) {
      const at = start + ((Number(line.dataset.rest) * (1 + z) - low) / (high - low)) * (end - start);
      line.setAttribute("transform", `translate(${at.toFixed(2)} 0)`);
      line.classList.toggle("outside", at < start || at > end);
    }
    find("#z-text").textContent = z.toFixed(5);
  }

  if (slider) {
    const box = find("#redshift");
    slider.addEventListener("input", () => {
      box.value = slider.value;
      mark_lines(Number(slider.value));
    });
    box.addEventListener("input", () => mark_lines(Number(box.value)));
  }
})();
