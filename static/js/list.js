// While a row of the list shows a run under way, the list is asked again now and then, and what has changed in its rows is put in place.
// The order of the rows stays; what somebody is using just now waits for the next time.
(() => {
  const table = document.querySelector("table.datasets");
  if (!table) return;
  const every = 3000, rarely = 60000;
  const underWay = ".status-cell .status.is-ring:is(.is-info, .is-warn)";
  let timer, tries = 0, left = false;
  const inUse = (part) => part.contains(document.activeElement) || part.querySelector("details[open]");
  const put = (old, fresh) => {
    if (!old || !fresh || old.innerHTML === fresh.innerHTML) return;
    if (inUse(old)) { left = true; return; }
    old.replaceChildren(...fresh.childNodes);
  };
  const bandOf = (row) => (row.nextElementSibling?.matches(".band-row") ? row.nextElementSibling : null);
  const putBand = (row, fresh) => {
    const old = bandOf(row), now = bandOf(fresh);
    if (old && now) { put(old.cells[0], now.cells[0]); return; }
    if (old && inUse(old)) { left = true; return; }
    old?.remove();
    if (now) row.after(document.adoptNode(now));
    row.classList.toggle("has-band", now !== null);
  };
  const show = (page) => {
    left = false;
    for (const row of table.querySelectorAll("tr[data-row]")) {
      const fresh = page.querySelector(`table.datasets tr[data-id="${CSS.escape(row.dataset.id)}"]`);
      if (!fresh) continue;
      putBand(row, fresh);
      [...row.cells].forEach((cell, i) => put(cell, fresh.cells[i]));
    }
    for (const part of [".head .facts", "[data-bands]"]) put(document.querySelector(part), page.querySelector(part));
  };
  const later = () => {
    clearTimeout(timer);
    if (document.hidden || !(left || table.querySelector(underWay))) return;
    timer = setTimeout(ask, Math.min(every * 2 ** tries, rarely));
  };
  const ask = async () => {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok || answer.redirected) throw new Error("no list");
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!page.querySelector("table.datasets")) throw new Error("no list");
      show(page);
      tries = 0;
    } catch { tries += 1; }
    later();
  };
  // A form that is sent brings a page of its own, and the news that goes with it is for that page.
  document.addEventListener("submit", () => clearTimeout(timer));
  document.addEventListener("visibilitychange", later);
  addEventListener("pageshow", later);
  later();
})();
