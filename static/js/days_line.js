// Recomputes the resolved dates and their picture while Start Days and End Days are typed.
(() => {
  const most = 60;
  const today = (zone) => {
    try { return new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(new Date()); } catch { return ""; }
  };
  const back = (iso, days) => { const date = new Date(`${iso}T00:00:00Z`); date.setUTCDate(date.getUTCDate() - days); return date; };
  const say = (date, year) => {
    const part = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options }).format(date);
    return `${part({ weekday: "short" })} ${part({ day: "numeric" })} ${part({ month: "short" })}${year ? ` ${part({ year: "numeric" })}` : ""}`;
  };
  const ago = (days) => (days === 0 ? "today" : days === 1 ? "yesterday" : `${days} days ago`);
  for (const box of document.querySelectorAll("[data-days]")) {
    const start = box.querySelector("[name=start_days]");
    const end = box.querySelector("[name=end_days]");
    const line = box.querySelector("[data-days-line]");
    const words = box.querySelector("[data-days-words]");
    const zone = document.querySelector("select[name=time_zone]");
    const draw = () => {
      const whole = /^\d{1,4}$/;
      const from = Number(start.value.trim()), to = Number(end.value.trim());
      if (!whole.test(start.value.trim()) || !whole.test(end.value.trim()) || to > from) {
        words.textContent = to > from ? `End Days must be ${from} or less (Start Days is ${from}).` : "";
        line.replaceChildren();
        return;
      }
      const place = zone?.value || box.dataset.zone;
      const first = today(place) || box.dataset.today;
      const count = from - to + 1;
      const a = back(first, from), b = back(first, to);
      const range = document.createElement("b");
      range.textContent = count === 1 ? say(b, true) : `${say(a, a.getUTCFullYear() !== b.getUTCFullYear())} to ${say(b, true)}`;
      const quiet = document.createElement("span");
      quiet.className = "quiet";
      quiet.textContent = " The date range moves each day.";
      words.replaceChildren("A run today pulls ", range, `, ${count} whole ${count === 1 ? "day" : "days"} in ${place}.`, quiet);
      const cells = Math.min(from + 1, most), scale = (from + 1) / cells;
      line.replaceChildren(...Array.from({ length: cells }, (_, i) => {
        const cell = document.createElement("i");
        const day = Math.round(from - i * scale), last = i === cells - 1;
        const inside = day >= to && day <= from && !(last && to > 0);
        cell.className = `day ${inside ? "is-in" : "is-out"}${last ? " is-today" : ""}`;
        const edge = inside && (last || Math.round(from - (i + 1) * scale) < to);
        const label = i === 0 ? ago(from) : last ? "today" : edge && i / cells > 0.35 && i / cells < 0.85 ? ago(to) : "";
        if (label) { const small = document.createElement("small"); small.textContent = label; cell.append(small); }
        return cell;
      }));
    };
    start.addEventListener("input", draw);
    end.addEventListener("input", draw);
    zone?.addEventListener("change", draw);
    document.addEventListener("chatlake:zone", draw);
  }
})();
