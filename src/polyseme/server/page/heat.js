// All words' weights as a table of squares, the darker the larger.

import { el } from "./dom.js";

const NUMBERS_UP_TO = 20;

/** @param {(position: number) => void} onChoose is told of the row that is clicked. */
export function heatMap(found, matrix, onChoose) {
  const { words, position } = found;
  const most = Math.max(...matrix.flat(), Number.MIN_VALUE);
  const numbers = words.length <= NUMBERS_UP_TO;
  const head = words.map((word) => el("th", { scope: "col" }, el("bdi", {}, word)));
  const rows = matrix.map((shares, i) => {
    const cells = shares.map((share, j) => {
      const whole = (share * 100).toFixed(0);
      return el(
        "td",
        { "--share": (share / most).toFixed(3), title: `${words[i]} ← ${words[j]}: ${share.toFixed(3)}` },
        numbers ? whole : el("span", { class: "unseen" }, whole),
      );
    });
    return el(
      "tr",
      { class: i === position ? "chosen" : null, onclick: () => onChoose(i) },
      el("th", { scope: "row" }, el("bdi", {}, words[i])),
      cells,
    );
  });
  const caption = "What each word (row) takes from the others (columns), in percent";
  return el(
    "div",
    { class: "scroller", tabindex: 0, role: "region", "aria-label": "Heat map" },
    el(
      "table",
      { class: numbers ? "heat" : "heat dense" },
      el("caption", { class: "unseen" }, caption),
      el("thead", {}, el("tr", {}, el("td", {}), head)),
      el("tbody", {}, rows),
    ),
  );
}
