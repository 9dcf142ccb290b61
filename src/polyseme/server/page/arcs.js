// The sentence with an arc from the chosen word to each other one, the thicker the more it takes
// from there. The words stand side by side where they fit, and below each other where not.

import { direction, el, percent, svg } from "./dom.js";

const LEAST = 0.02; // arcs of smaller shares are not drawn
const GAP = 9; // pixels between words, at the least

let watching = null;

/** Draw into an element, again whenever its width changes. */
export function drawArcs(place, found, shares, onChoose) {
  watching?.disconnect();
  const figure = figureOf(found, shares, onChoose);
  place.replaceChildren(figure);
  let width = -1;
  watching = new ResizeObserver(() => {
    if (place.clientWidth === width) return;
    width = place.clientWidth;
    arrange(place, figure, found, shares);
  });
  watching.observe(place);
  arrange(place, figure, found, shares);
}

function figureOf(found, shares, onChoose) {
  const { words, position, left_out: effects } = found;
  const [mostShare, mostEffect] = [Math.max(...shares, 1e-9), Math.max(...effects, 1e-9)];
  const head = el(
    "div",
    { role: "row", class: "row head" },
    ["word", "share", "without it"].map((name) => el("div", { role: "columnheader" }, name)),
  );
  const rows = words.map((word, i) => {
    const own = i === position;
    return el(
      "div",
      { role: "row", class: own ? "row own" : "row", onclick: () => onChoose(i) },
      el("div", { role: "rowheader", class: "name" }, el("bdi", {}, word)),
      el(
        "div",
        { role: "cell", class: "share", "--part": (shares[i] / mostShare).toFixed(3) },
        el("bdi", { dir: "ltr" }, percent(shares[i])),
      ),
      el(
        "div",
        { role: "cell", class: "effect", "--part": own ? 0 : (effects[i] / mostEffect).toFixed(3) },
        el("bdi", {}, own ? "–" : effects[i].toFixed(2)),
      ),
    );
  });
  const lines = svg("svg", { "aria-hidden": "true" });
  const label = `What ${found.word} takes from each word`;
  return el(
    "div",
    { class: "arcs", role: "table", "aria-label": label, dir: direction(found.text) },
    head,
    rows,
    lines,
  );
}

function arrange(place, figure, found, shares) {
  figure.classList.remove("down");
  figure.classList.add("across");
  figure.style.setProperty("--rise", "0px");
  figure.style.setProperty("--gap", `${GAP}px`);
  const spare = (place.clientWidth - figure.offsetWidth) / (found.words.length + 1);
  const across = spare >= 0;
  figure.classList.toggle("across", across);
  figure.classList.toggle("down", !across);
  figure.style.setProperty("--gap", `${GAP + Math.min(28, Math.max(0, spare))}px`);
  const names = [...figure.querySelectorAll(".name")];
  const centre = (name) =>
    across ? name.offsetLeft + name.offsetWidth / 2 : name.offsetTop + name.offsetHeight / 2;
  const centres = names.map(centre);
  const own = centres[found.position];
  const drawn = shares
    .map((share, i) => ({ share, i }))
    .filter(({ share, i }) => i !== found.position && share >= LEAST)
    .sort((a, b) => a.share - b.share);
  const reach = Math.max(...drawn.map(({ i }) => Math.abs(centres[i] - own)), 1);
  const peak = across ? Math.min(170, Math.max(50, 0.32 * reach)) : 52;
  figure.style.setProperty("--rise", drawn.length ? `${peak + 14}px` : "0px");
  const most = Math.max(...drawn.map(({ share }) => share), 1e-9);
  const right = figure.dir === "rtl";
  const [width, height] = [figure.clientWidth, figure.clientHeight];
  const foot = across ? names[0].offsetTop - 6 : peak + 8;
  const lines = drawn.map(({ share, i }) => {
    const rise = 18 + (peak - 18) * Math.sqrt(Math.abs(centres[i] - own) / reach);
    // A cubic Bézier reaches three quarters of the way to its control points.
    const turn = foot - (rise * 4) / 3;
    const at = (along, height) =>
      across ? `${along} ${height}` : `${right ? width - height : height} ${along}`;
    const points = [at(own, foot), at(own, turn), at(centres[i], turn), at(centres[i], foot)];
    return svg(
      "path",
      {
        d: `M${points[0]}C${points.slice(1).join(" ")}`,
        "stroke-width": 1 + (6 * share) / most,
        opacity: 0.25 + (0.65 * share) / most,
      },
      svg("title", {}, `${found.word} ← ${found.words[i]}: ${share.toFixed(3)}`),
    );
  });
  const picture = figure.querySelector("svg");
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  picture.replaceChildren(...lines);
}
