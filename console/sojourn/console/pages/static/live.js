// Keeps the list of current sessions up to date: focus, selection, scroll and the open drawer stay where they are.
"use strict";
(() => {
  const { words, say, keys, part, openDialog, byId, isTyping, tick } = sojourn;
  const NEW_MS = 4000; // long enough to be seen, short enough not to stay
  const AGAIN_MS = 100; // what the server says first
  const COUNTS_MS = 2000; // numbers that change faster are not read
  const STRIP_MS = 3000; // one waits for it
  const STALE_MS = 40000; // it sends at least a heartbeat every 15 s
  const UNASKED = { headers: { "Sojourn-Unasked": "yes" } }; // what the page asks by itself keeps nobody signed in
  const live = () => byId("live");
  const rows = () => [...document.querySelectorAll("#live tbody tr")];

  // ---- What is selected -------------------------------------------------------------------------------------------
  const picked = new Set();
  const boxes = () => [...document.querySelectorAll("#live tbody input[name=session]")];
  const showPicked = () => {
    for (const box of boxes()) {
      if (box.checked) picked.add(box.value); else picked.delete(box.value);
      box.closest("tr").classList.toggle("chosen", box.checked);
    }
    const count = boxes().filter((box) => box.checked).length;
    const all = byId("pick-all"), foot = document.querySelector(".foot"), text = byId("picked-count");
    if (all) {
      all.hidden = false;
      all.checked = count > 0 && count === boxes().length;
      all.indeterminate = count > 0 && !all.checked;
    }
    if (foot) foot.classList.toggle("some", count > 0);
    if (text) {
      text.dataset.none ??= text.textContent;
      text.textContent = count ? words("selected").replace("{count}", count) : text.dataset.none;
      byId("disconnect").disabled = count === 0;
    }
    if (!count && !isPaused) settle();
  };
  document.addEventListener("change", (event) => {
    if (event.target.id === "pick-all") for (const box of boxes()) box.checked = event.target.checked;
    if (event.target.closest("#live")) showPicked();
  });

  // ---- What changed ------------------------------------------------------------------------------------------------
  let isPaused = false, isAsking = false, isMany = false, asked = -Infinity, againMs = AGAIN_MS, timer = null, elsewhere = null;
  const waiting = new Set(); // the sessions that changed, and are not shown yet
  const isHeld = () => isPaused || picked.size > 0;
  const shown = () => new Set(rows().map((row) => row.dataset.session));

  const settle = () => {
    if (!waiting.size && !isMany) { byId("behind").hidden = true; return; }
    if (isHeld()) {
      const text = isMany ? words("many") : waiting.size === 1 ? words("changesOne") : words("changes").replace("{count}", waiting.size);
      byId("behind").hidden = false;
      byId("behind").querySelector("span").textContent = text;
      return;
    }
    if (isAsking || timer) return;
    const early = asked + againMs - performance.now();
    const wait = early > 0 ? early : againMs > 2 * AGAIN_MS ? Math.random() * againMs : 0; // all pages hear at once
    timer = setTimeout(() => { timer = null; ask(); }, wait);
  };

  // What is on no row of this page changes only the counts above it.
  const later = () => { elsewhere ??= setTimeout(() => { elsewhere = null; if (!isHeld()) ask(); }, Math.max(COUNTS_MS, againMs)); };

  const ask = async (click) => {
    if (isAsking) return;
    isAsking = true;
    asked = performance.now();
    waiting.clear();
    isMany = false;
    try {
      const answer = await part(live().dataset.path, click ? {} : UNASKED);
      if (answer.ok) show(await answer.text());
      else if (answer.status === 409) location.assign(location.pathname); // the place in the list is gone
      else if (answer.status === 429 || answer.status >= 500) isMany = true; // it has too much to do, or stops: ask again
    } catch { isMany = true; }
    isAsking = false;
    if (isMany) timer ??= setTimeout(() => { timer = null; settle(); }, 2000); else settle();
  };

  // Ids keep rows, focus and what is checked together; the page that comes does not know what is checked here.
  const options = {
    morphStyle: "outerHTML",
    callbacks: { beforeAttributeUpdated: (name, node) => !(node.id === "pick-all" || (node instanceof HTMLInputElement && name === "checked")) },
  };
  const morph = (node, other) => { if (node && other) Idiomorph.morph(node, other, options); };
  const show = (html) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const before = shown();
    const top = page.getElementById("live");
    for (const box of top.querySelectorAll("input[name=session]")) if (picked.has(box.value)) box.setAttribute("checked", "");
    morph(live(), top);
    for (const id of ["counts", "strip"]) morph(byId(id), page.getElementById(id));
    const fresh = page.getElementById("fresh");
    fresh?.removeAttribute("hx-swap-oob");
    morph(byId("fresh"), fresh);
    byId("counts").removeAttribute("hx-swap-oob");
    for (const box of boxes()) box.checked = picked.has(box.value);
    for (const row of rows()) {
      if (!before.size || before.has(row.dataset.session)) continue;
      row.classList.add("new");
      setTimeout(() => row.classList.remove("new"), NEW_MS);
    }
    byId("behind").hidden = true;
    const gone = shown();
    for (const id of [...picked]) if (!gone.has(id)) picked.delete(id);
    showLiveness();
    showPicked();
    showOpened();
    tick();
    say(words("counted").replace("{count}", byId("counts").dataset.count));
    document.dispatchEvent(new CustomEvent("sojourn:shown"));
  };
  byId("show").addEventListener("click", ask);

  const pause = byId("pause");
  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.children[1].textContent = isPaused ? pause.dataset.resume : pause.dataset.pause;
    say(words(isPaused ? "paused" : "resumed"));
    settle();
  });

  // ---- The stream ---------------------------------------------------------------------------------------------------
  let heard = null, source = null, isOpen = false, isBeginning = true;
  const clock = (at) => new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone: document.documentElement.dataset.zone }).format(at);
  const showLiveness = () => {
    const fresh = byId("fresh");
    let mark = byId("lively");
    if (!mark) { mark = Object.assign(document.createElement("span"), { id: "lively" }); fresh.append(mark); }
    const isStale = !isOpen;
    mark.className = isStale ? "lively late" : "lively";
    mark.textContent = isStale ? (heard ? words("stale").replace("{time}", clock(heard)) : "") : words("live");
    mark.hidden = isStale && !heard;
  };
  const hear = () => { heard = new Date(); if (!isOpen) { isOpen = true; showLiveness(); } };
  const taken = (event) => { hear(); const told = JSON.parse(event.data); if (told.again_ms) againMs = told.again_ms; return told; };
  // Each message says up to where in the log it tells, and so does the list: what a list has already need not be asked for.
  const places = (text) => new Map(text.split(",").map((place) => place.split(":").map(Number)));
  const has = (told) => { const own = places(live().dataset.places); return [...places(told)].every(([partition, offset]) => own.get(partition) >= offset); };
  const concerns = (change) => change.change === "opened" || shown().has(change.session_id) || !byId("strip").hidden;

  const listen = () => {
    source = new EventSource(`/v1/stream?tenant=${encodeURIComponent(document.documentElement.dataset.tenant)}`);
    source.addEventListener("changes", (event) => {
      const told = taken(event), isNew = !has(event.lastEventId);
      if (isNew && isBeginning) isMany = true; // something came between the page and its stream
      isBeginning = false;
      if (isNew) for (const change of told.sessions) if (concerns(change)) waiting.add(change.session_id);
      if (isNew && told.sessions.length && !waiting.size) later();
      settle();
      const drawn = byId("drawer").dataset.session;
      if (drawn && told.sessions.some((change) => change.session_id === drawn)) openDrawer(byId("drawer").dataset.path, false, UNASKED);
    });
    source.addEventListener("resync", (event) => { taken(event); if (!has(event.lastEventId)) isMany = true; settle(); });
    source.addEventListener("freshness", (event) => {
      const told = taken(event);
      const time = byId("complete-to");
      if (time && told.complete_to) {
        const at = new Date(told.complete_to);
        time.textContent = clock(at);
        time.setAttribute("datetime", told.complete_to);
        time.title = `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
      }
      const state = JSON.stringify(told.brokers.map((broker) => [broker.source, broker.state]));
      if (listen.brokers !== undefined && listen.brokers !== state) { isMany = true; settle(); }
      listen.brokers = state;
    });
    source.addEventListener("heartbeat", hear);
    source.onopen = () => { listen.delay = undefined; hear(); };
    source.onerror = () => {
      isOpen = false;
      showLiveness();
      if (source.readyState === EventSource.CLOSED) { // the server refused, or is gone: come again, more slowly each time
        listen.delay = Math.min(30000, (listen.delay ?? 1000) * 2);
        setTimeout(() => { isMany = true; listen(); settle(); }, listen.delay);
      } else isMany = true;
    };
  };
  // ---- The drawer ---------------------------------------------------------------------------------------------------
  const drawer = byId("drawer");
  let opener = null;
  const showOpened = () => { for (const row of rows()) row.classList.toggle("open", row.dataset.session === drawer.dataset.session); };
  const openDrawer = async (path, isAsked = true, options = {}) => {
    const answer = await part(path, options);
    if (!answer.ok) { if (isAsked) location.assign(path); return; }
    const html = await answer.text();
    if (drawer.hidden && !isAsked) return;
    if (isAsked) drawer.innerHTML = html;
    else Idiomorph.morph(drawer, html, { morphStyle: "innerHTML" });
    drawer.dataset.path = path;
    drawer.dataset.session = drawer.querySelector("[data-session]")?.dataset.session ?? "";
    drawer.hidden = false;
    showOpened();
    tick();
    if (isAsked) drawer.focus();
  };
  const closeDrawer = () => {
    if (drawer.hidden) return false;
    drawer.hidden = true;
    drawer.replaceChildren();
    delete drawer.dataset.session;
    showOpened();
    byId(opener)?.focus();
    return true;
  };
  document.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    if (event.target.closest("#drawer [data-close]")) { event.preventDefault(); closeDrawer(); return; }
    const row = event.target.closest("#live tr[data-open]");
    if (!row || event.target.closest("input, label, button, .pick") || String(getSelection())) return;
    const link = row.querySelector(".a a");
    event.preventDefault();
    opener = link.id;
    openDrawer(link.getAttribute("href"));
  });

  // ---- The dialogue before a disconnect -------------------------------------------------------------------------------
  const KEPT = "sojourn.picked"; // what was selected, for who has to show who they are in between
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
  sessionStorage.removeItem(KEPT);
  for (const box of boxes()) if (kept.includes(box.value)) box.checked = true;

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    const isAsking = form.id === "live" || form.matches("[data-ask]"), isSending = form.matches("#dialog form[data-send]");
    if (!isAsking && !isSending) return;
    event.preventDefault();
    const button = event.submitter;
    const data = new FormData(form);
    if (button?.name) data.set(button.name, button.value);
    if (isAsking && !data.getAll("session").length) return;
    if (isAsking) sessionStorage.setItem(KEPT, JSON.stringify(data.getAll("session")));
    if (button) button.disabled = true;
    try {
      const answer = await part(form.action, { method: "POST", body: new URLSearchParams(data) });
      sessionStorage.removeItem(KEPT);
      if (answer.headers.get("content-type")?.startsWith("text/html")) openDialog(await answer.text());
    } finally { if (button) button.disabled = false; }
  });

  // While commands are on their way and nothing is heard, the strip is asked for all the same.
  setInterval(() => { if (byId("strip").dataset.waiting && !isHeld()) { isMany = true; settle(); } }, STRIP_MS);

  // ---- Keys -----------------------------------------------------------------------------------------------------------
  const at = () => document.activeElement?.closest?.("#live tbody tr");
  const step = (by) => {
    const all = rows();
    const next = all[Math.min(all.length - 1, Math.max(0, at() ? all.indexOf(at()) + by : 0))];
    next?.querySelector(".a a").focus();
    next?.scrollIntoView({ block: "nearest" });
    if (!drawer.hidden && next) { opener = next.querySelector(".a a").id; openDrawer(next.querySelector(".a a").getAttribute("href"), false); }
  };
  Object.assign(keys, {
    j: () => step(1),
    k: () => step(-1),
    x: () => { const box = at()?.querySelector("input[name=session]"); if (!box) return false; box.checked = !box.checked; showPicked(); return true; },
    Escape: closeDrawer,
  });

  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  setInterval(() => { if (isOpen && heard && Date.now() - heard > STALE_MS) { isOpen = false; source.close(); showLiveness(); isMany = true; listen(); } }, 5000);
  showPicked();
  listen();
})();
