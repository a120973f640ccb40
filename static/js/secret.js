// Shows a secret while it is typed; hides it again before it is sent, so that the browser does not keep it as text.
(() => {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-show-secret]");
    if (!button) return;
    const input = document.getElementById(button.dataset.showSecret);
    const shown = input.type === "text";
    input.type = shown ? "password" : "text";
    button.setAttribute("aria-pressed", String(!shown));
    button.querySelector("span").textContent = shown ? "Show" : "Hide";
    input.focus();
  });
  document.addEventListener("submit", (event) => {
    for (const button of event.target.querySelectorAll("[data-show-secret][aria-pressed=true]")) document.getElementById(button.dataset.showSecret).type = "password";
  });
})();
