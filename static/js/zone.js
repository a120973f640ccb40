// Preselects the browser's time zone in an empty menu.
(() => {
  for (const select of document.querySelectorAll("select[data-browser-zone]")) {
    if (select.value) continue;
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const option = [...select.options].find((one) => one.value === zone) ?? [...select.options].find((one) => one.value === "UTC");
    if (!option) continue;
    option.selected = true;
    // After the other files have begun to listen.
    addEventListener("DOMContentLoaded", () => document.dispatchEvent(new CustomEvent("chatlake:zone")));
  }
})();
