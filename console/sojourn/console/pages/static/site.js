// What makes all pages live; without it they are plain HTML that one can read and send.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const byId = (id) => document.getElementById(id);

  // Durations count on as Times.span() says them; the server's clock counts, not this machine's.
  const words = (name) => byId("words")?.dataset[name] ?? "";
  const units = (words("units") || "d h m s").split(" ");
  const skew = () => Number(root.dataset.now || 0) * 1000 - performance.now();
  let ahead = skew();
  const span = (seconds) => {
    const two = (number) => String(number).padStart(2, "0");
    const all = Math.max(0, Math.floor(seconds));
    const [days, hours, minutes, rest] = [Math.floor(all / 86400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60, all % 60];
    if (days) return `${days} ${units[0]} ${two(hours)} ${units[1]}`;
    if (hours) return `${hours} ${units[1]} ${two(minutes)} ${units[2]}`;
    return minutes ? `${minutes} ${units[2]} ${two(rest)} ${units[3]}` : `${rest} ${units[3]}`;
  };
  const tick = () => {
    const now = (ahead + performance.now()) / 1000;
    for (const time of document.querySelectorAll(".tick[data-since]")) {
      const text = span(now - Number(time.dataset.since));
      if (time.textContent !== text) time.textContent = text;
    }
    for (const time of document.querySelectorAll(".tick[data-until]")) {
      const text = span(Number(time.dataset.until) - now);
      if (time.textContent !== text) time.textContent = text;
    }
  };
  if (root.dataset.now) setInterval(tick, 1000);

  // A menu closes when one looks elsewhere; Escape closes it and goes back to its button.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("toggle", (event) => {
    if (!(event.target instanceof HTMLDetailsElement) || !event.target.open || !event.target.matches(".menu")) return;
    for (const menu of document.querySelectorAll("details.menu[open]")) if (menu !== event.target) menu.open = false;
  }, true);
  const closeMenu = () => {
    const menu = document.querySelector("details.menu[open]");
    if (!menu) return false;
    menu.open = false;
    menu.querySelector("summary").focus();
    return true;
  };

  // A choice takes effect at once; a search after a pause in the typing would move what one reads, so it waits for Enter.
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-filters]");
    if (form && event.target.matches("select")) form.requestSubmit();
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("form[method=get]")) return;
    for (const field of form.querySelectorAll("input[name], select[name]")) if (!field.value) field.disabled = true;
  });
  addEventListener("pageshow", () => {
    for (const field of document.querySelectorAll("form[method=get] :disabled")) field.disabled = false;
  });

  // What a screen reader says, at most every ten seconds.
  const SAY_MS = 10000;
  let said = -SAY_MS, waiting = null, next = "";
  const say = (text) => {
    next = text;
    waiting ??= setTimeout(() => { waiting = null; said = performance.now(); byId("said").textContent = next; }, Math.max(0, said + SAY_MS - performance.now()));
  };

  // Keys: never while one types, and never instead of the browser's own.
  const isTyping = (target) => target.closest("input:not([type=checkbox]):not([type=radio]), select, textarea, [contenteditable]");
  const keys = {
    "/": () => byId("search")?.focus(),
    "?": () => document.querySelector("[data-help]")?.click(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (document.querySelector("dialog[open]")) return;
      if (closeMenu()) return;
      if (isTyping(event.target)) event.target.blur();
      else keys.Escape?.(event);
      return;
    }
    if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const act = keys[event.key];
    if (!act || act(event) === false) return;
    event.preventDefault();
  });

  // Pages within a page: the help, and what a list asks before it acts.
  const openDialog = (html) => {
    const dialog = byId("dialog") ?? document.body.appendChild(Object.assign(document.createElement("dialog"), { id: "dialog" }));
    dialog.innerHTML = html;
    dialog.setAttribute("aria-labelledby", "dialog-title");
    htmx.process(dialog);
    if (!dialog.open) dialog.showModal();
    (dialog.querySelector("[data-focus], [autofocus], [aria-invalid=true]") ?? dialog.querySelector("textarea, input:not([type=hidden]), button"))?.focus();
    return dialog;
  };
  const part = async (path, options = {}) => {
    const answer = await fetch(path, { ...options, headers: { "HX-Request": "true", Accept: "text/html", ...options.headers } });
    const away = answer.headers.get("HX-Redirect");
    if (away) { location.assign(away); return new Promise(() => {}); }
    return answer;
  };
  document.addEventListener("click", async (event) => {
    const help = event.target.closest("[data-help]");
    if (help && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      const answer = await part(help.href);
      if (answer.ok) openDialog(await answer.text()); else location.assign(help.href);
    }
    if (event.target.closest("dialog [data-close]")) { event.preventDefault(); event.target.closest("dialog").close(); }
  });
  document.querySelector("[data-focus]")?.focus();

  globalThis.sojourn = { words, say, span, tick, keys, part, openDialog, byId, isTyping, reclock: () => { ahead = skew(); } };
})();
