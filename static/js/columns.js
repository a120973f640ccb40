// The edges of the columns of a table of rows can be dragged, and moved with the arrow keys; Enter or a double click undoes it all.
(() => {
  const least = 48, most = 1600, step = 16;
  for (const table of document.querySelectorAll("table.data[data-keys]")) {
    const heads = [...table.tHead.rows[0].cells];
    let widths = null;
    const measured = (i) => Math.round(heads[i].getBoundingClientRect().width);
    const edges = heads.map((head, i) => {
      const edge = document.createElement("span");
      const name = head.querySelector("a")?.textContent.trim() ?? "this column";
      for (const [key, value] of Object.entries({ role: "separator", tabindex: "0", "aria-orientation": "vertical", "aria-label": `Width of ${name}`, "aria-valuemin": least, "aria-valuemax": most })) edge.setAttribute(key, value);
      edge.className = "edge";
      edge.title = "Drag, or use the arrow keys. Enter resets all column widths.";
      head.append(edge);
      return edge;
    });
    const announce = () => edges.forEach((edge, i) => edge.setAttribute("aria-valuenow", measured(i)));
    const size = () => {
      heads.forEach((head, i) => { head.style.width = widths ? `${widths[i]}px` : ""; });
      table.style.width = widths ? `${widths.reduce((sum, width) => sum + width, 0)}px` : "";
      table.classList.toggle("is-sized", widths !== null);
      announce();
    };
    const set = (i, width) => {
      // All widths stand still from the first change on, so that a column takes nothing from its neighbours.
      widths ??= heads.map((_, column) => measured(column));
      widths[i] = Math.max(least, Math.min(most, Math.round(width)));
      size();
    };
    const undo = () => { widths = null; size(); };
    edges.forEach((edge, i) => {
      let from = 0, was = 0;
      edge.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        event.preventDefault();
        edge.focus({ preventScroll: true });
        edge.setPointerCapture(event.pointerId);
        from = event.clientX;
        was = measured(i);
      });
      edge.addEventListener("pointermove", (event) => { if (edge.hasPointerCapture(event.pointerId)) set(i, was + event.clientX - from); });
      edge.addEventListener("dblclick", undo);
      edge.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key === "ArrowLeft" || event.key === "ArrowRight") set(i, measured(i) + (event.key === "ArrowRight" ? step : -step));
        else if (event.key === "Enter") undo();
        else return;
        event.preventDefault();
        event.stopPropagation();
      });
    });
    announce();
  }
})();
