// Shows a session of the history beside the list; without it the row's link opens a page.
"use strict";
(() => {
  const { keys, part, byId } = sojourn;
  const drawer = byId("drawer");
  const rows = () => [...document.querySelectorAll(".history tbody tr")];
  let opener = null;

  const open = async (row, isAsked = true) => {
    const link = row.querySelector(".a a");
    const answer = await part(link.href);
    if (!answer.ok) { if (isAsked) location.assign(link.href); return; }
    drawer.innerHTML = await answer.text();
    drawer.hidden = false;
    opener = link;
    for (const each of rows()) each.classList.toggle("open", each === row);
    if (isAsked) drawer.focus();
  };
  const close = () => {
    if (drawer.hidden) return false;
    drawer.hidden = true;
    drawer.replaceChildren();
    for (const each of rows()) each.classList.remove("open");
    opener?.focus();
    return true;
  };
  document.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    if (event.target.closest("#drawer [data-close]")) { event.preventDefault(); close(); return; }
    const row = event.target.closest(".history tr[data-open]");
    if (!row || String(getSelection())) return;
    event.preventDefault();
    open(row);
  });

  const step = (by) => {
    const all = rows(), at = all.indexOf(document.activeElement?.closest("tr"));
    const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
    if (!next) return false;
    next.querySelector(".a a").focus();
    next.scrollIntoView({ block: "nearest" });
    if (!drawer.hidden) open(next, false);
    return true;
  };
  Object.assign(keys, { j: () => step(1), k: () => step(-1), Escape: close });
})();
