// Light or dark as the reader has chosen it here, before anything is drawn; no module, so that it
// does not wait for the page.
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("polyseme-theme");
  } catch {
    // A browser that keeps nothing: the system's colours.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
