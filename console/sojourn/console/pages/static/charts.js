// Draws the pictures when they come into sight; the scripts that can are loaded for the first of them.
"use strict";
(() => {
  const parts = document.currentScript.dataset.parts.split(" ");
  let loading = null;

  function load() {
    loading ??= parts.reduce((before, src) => before.then(() => new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = src;
      script.onload = done;
      script.onerror = () => failed(new Error(src));
      document.head.append(script);
    })), Promise.resolve());
    return loading;
  }

  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;

  // Vega calls this whenever the pointer meets something else.
  function pointed(handler, event, item, text) {
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    document.body.append(tip);
    const { clientX: x, clientY: y } = event, { offsetWidth: width, offsetHeight: height } = tip;
    const room = document.documentElement.clientWidth;
    tip.style.left = `${Math.max(4, Math.min(x + 12, room - width - 4))}px`;
    tip.style.top = `${y - height - 12 < 4 ? y + 20 : y - height - 12}px`;
  }

  function say(place, usermeta) {
    const figure = place.closest("figure");
    if (!figure) return;
    figure.querySelector("figcaption a").textContent = usermeta.title;
    figure.querySelector("[data-says]").textContent = usermeta.says;
  }

  async function draw(place) {
    place.setAttribute("aria-busy", "true");
    try {
      const [answer] = await Promise.all([fetch(place.dataset.chart, { headers: { Accept: "application/json" } }), load()]);
      if (!answer.ok) throw new Error(answer.status);
      const spec = await answer.json();
      say(place, spec.usermeta);
      if (!spec.layer) {
        place.textContent = spec.usermeta.figure;
        place.classList.add("figure");
        return;
      }
      spec.config.font = getComputedStyle(place).fontFamily;
      const runtime = vega.parse(vegaLite.compile(spec).spec, null, { ast: true });
      const view = new vega.View(runtime, { expr: vegaInterpreter, renderer: "svg", container: place, hover: true });
      view.tooltip(pointed);
      await view.runAsync();
      // Vega names it a document whose parts can be read; but what stands in its table need not be read twice.
      place.setAttribute("role", "img");
      place.removeAttribute("aria-roledescription");
      place.querySelector("svg").setAttribute("aria-hidden", "true");
    } catch {
      place.textContent = place.dataset.failed;
      place.classList.add("failed");
    } finally {
      place.removeAttribute("aria-busy");
    }
  }

  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "200px" });

  function find() {
    for (const place of document.querySelectorAll("[data-chart]:not([data-found])")) {
      place.dataset.found = "";
      seen.observe(place);
    }
  }

  find();
  document.addEventListener("htmx:afterSettle", find);
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
})();
