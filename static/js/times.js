// Keeps "2 hours ago" true while the page stays open. The exact time stays in the title.
(() => {
  const words = (then) => {
    const s = Math.round((Date.now() - then) / 1000);
    if (s < 0) return null;
    if (s < 60) return "just now";
    for (const [size, name, below] of [[60, "minute", 3600], [3600, "hour", 172800], [86400, "day", 31 * 86400]]) {
      if (s < below) { const n = Math.floor(s / size); return `${n} ${name}${n === 1 ? "" : "s"} ago`; }
    }
    return null;
  };
  const refresh = () => {
    for (const time of document.querySelectorAll("time[data-relative]")) {
      if (!/ago$|^just now$/.test(time.textContent)) continue;
      const text = words(Date.parse(time.dateTime));
      if (text && text !== time.textContent) time.textContent = text;
    }
  };
  setInterval(refresh, 30000);
})();
