// A button that copies the text of another element. Without clipboard access the text is selected instead.
(() => {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    const words = button.querySelector("span");
    const was = words.textContent;
    try {
      await navigator.clipboard.writeText(source.innerText.trim());
      words.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      words.textContent = "Selected";
    }
    setTimeout(() => { words.textContent = was; }, 2000);
  });
})();
