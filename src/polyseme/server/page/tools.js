// The button for light and dark; theme.js has drawn the page as it was left.

import { byId } from "./dom.js";

const NEXT = { auto: "light", light: "dark", dark: "auto" };

export function showThemeButton() {
  const button = byId("theme");
  const root = document.documentElement;
  const show = () => {
    button.textContent = `Theme: ${root.dataset.theme ?? "auto"}`;
  };
  button.onclick = () => {
    const next = NEXT[root.dataset.theme ?? "auto"];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("polyseme-theme", next);
    } catch {
      // A browser that keeps nothing: until the page is left.
    }
    show();
  };
  show();
}
