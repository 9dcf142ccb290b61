// The uses of a word in all sentences: where context takes each, on a map for each rung of the
// ladder, and how similar they are to each other.

import { badge, byId, choice, cosine, el, hueOf, percent, svg } from "./dom.js";
import { RUNGS } from "./weights.js";

const [WIDTH, HEIGHT, MARGIN, RADIUS] = [300, 220, 26, 11];
const ROUNDS = 80; // of moving points apart

/**
 * Show the maps and the tables.
 *
 * @param {{uses: {sentence: number, position: number, name: string}[], rungs: object[],
 *   word: string}} compared with the sentences numbered as on the page
 * @param {number} chosen which of the uses
 */
export function showUses(compared, chosen, when, change) {
  const { uses, rungs, word } = compared;
  byId("uses-title").replaceChildren(
    el("strong", { dir: "auto" }, word),
    uses.length > 1 ? ` in ${uses.length} places` : " in one place",
  );
  byId("uses-note").textContent =
    uses.length > 1
      ? "Points: the word in each sentence. Rings: its static vector. All maps have one scale."
      : `Write another sentence with \u201c${word}\u201d to hold its uses against each other.`;
  choice(
    byId("when"),
    [
      { value: "before", label: "before context" },
      { value: "after", label: "after context" },
    ],
    when,
    (value) => change({ when: value }),
  );
  const scale = scaleOf(rungs);
  byId("ladder").replaceChildren(
    ...rungs.map((rung) =>
      el(
        "article",
        { class: "rung", "aria-label": rung.rung },
        el("h3", {}, rung.rung),
        el("p", { class: "hint" }, RUNGS[rung.rung]),
        mapOf(rung, uses, chosen, scale),
        uses.length > 1 ? tableOf(rung.similarity, uses, chosen) : "",
        el("p", { class: "hint" }, verdict(rung, uses)),
      ),
    ),
  );
  placePoints(when);
}

/** Move the points to where they are before or after context; the browser animates it. */
export function placePoints(when) {
  for (const point of byId("ladder").querySelectorAll(".point")) {
    const [x, y] = point.dataset[when].split(" ");
    point.style.setProperty("transform", `translate(${x}px, ${y}px)`);
  }
  byId("ladder").dataset.when = when;
}

/** Pixels for a unit of length: the same in all maps, so that they can be compared. */
function scaleOf(rungs) {
  const spans = rungs.flatMap(({ before, after }) => {
    const all = [...before, ...after];
    return [span(all, 0) / (WIDTH - 2 * MARGIN), span(all, 1) / (HEIGHT - 2 * MARGIN)];
  });
  return 1 / Math.max(...spans, 1e-3);
}

const values = (points, axis) => points.map((point) => point[axis]);
const span = (points, axis) =>
  Math.max(...values(points, axis)) - Math.min(...values(points, axis));
const middle = (points, axis) =>
  (Math.max(...values(points, axis)) + Math.min(...values(points, axis))) / 2;

function mapOf({ before, after, rung }, uses, chosen, scale) {
  const all = [...before, ...after];
  const onPage = ([x, y]) => [
    WIDTH / 2 + (x - middle(all, 0)) * scale,
    // The second component grows upwards, y on the page downwards.
    HEIGHT / 2 - (y - middle(all, 1)) * scale,
  ];
  const [starts, ends] = [before.map(onPage), after.map(onPage)];
  const places = { before: apart(starts), after: apart(ends) };
  const ways = uses.map((use, i) =>
    svg("line", {
      class: `way hue${hueOf(use.sentence + 1)}`,
      ...{ x1: starts[i][0], y1: starts[i][1], x2: ends[i][0], y2: ends[i][1] },
    }),
  );
  const rings = starts.map(([cx, cy]) => svg("circle", { class: "ring", cx, cy, r: 3 }));
  const points = uses.map((use, i) =>
    svg(
      "g",
      {
        class: `point hue${hueOf(use.sentence + 1)}${i === chosen ? " chosen" : ""}`,
        "data-before": places.before[i].join(" "),
        "data-after": places.after[i].join(" "),
      },
      svg("title", {}, use.text),
      svg("circle", { r: RADIUS }),
      svg("text", { dy: "0.35em" }, use.name),
    ),
  );
  return svg(
    "svg",
    {
      class: "map",
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: "img",
      "aria-label": `Map of the uses by ${rung} vectors; the table below has their similarities.`,
    },
    [...ways, ...rings, ...points],
  );
}

/** Points as near to where they belong as lets each be read. */
function apart(points) {
  const turn = (2 * Math.PI) / points.length;
  // Those at one place are moved away in different directions.
  let placed = points.map(([x, y], i) => [
    x - 0.01 * Math.cos(i * turn),
    y - 0.01 * Math.sin(i * turn),
  ]);
  for (let round = 0; round < ROUNDS; round += 1) {
    placed = placed.map((point, i) =>
      placed.reduce((sum, other, j) => (i === j ? sum : pushed(sum, point, other)), point),
    );
  }
  return placed.map(([x, y]) => [inside(x, WIDTH), inside(y, HEIGHT)]);
}

/** `sum`, and the step that takes `point` away from another that is too near. */
function pushed(sum, point, other) {
  const way = [point[0] - other[0], point[1] - other[1]];
  const distance = Math.hypot(...way);
  const least = 2 * RADIUS + 6; // so that the ring between two of them is seen
  if (distance >= least) return sum;
  const step = (least - distance) / 3 / distance;
  return [sum[0] + step * way[0], sum[1] + step * way[1]];
}

const inside = (value, size) => Math.min(size - RADIUS - 2, Math.max(RADIUS + 2, value));

function tableOf(similarity, uses, chosen) {
  const number = (use) => badge(use.sentence + 1, use.name.replace(/^\d+/, ""));
  const head = uses.map((use) => el("th", { scope: "col" }, number(use)));
  const rows = uses.map((use, i) =>
    el(
      "tr",
      { class: i === chosen ? "chosen" : null },
      el("th", { scope: "row" }, number(use)),
      similarity[i].map((value, j) =>
        i === j
          ? el("td", { class: "self" }, "")
          : el("td", { "--share": Math.max(0, value ?? 0).toFixed(3) }, value === null ? "–" : cosine(value)),
      ),
    ),
  );
  return el(
    "div",
    { class: "scroller" },
    el(
      "table",
      { class: "heat cosines" },
      el("caption", { class: "unseen" }, "Cosine between the uses"),
      el("thead", {}, el("tr", {}, el("td", {}), head)),
      el("tbody", {}, rows),
    ),
  );
}

function verdict({ similarity, shown }, uses) {
  const pairs = similarity.flatMap((row, i) => row.slice(0, i).filter((value) => value !== null));
  const plane = `The map shows ${percent(shown)} of the variance.`;
  if (pairs.length === 0) return uses.length > 1 ? "These uses have no vectors." : plane;
  const [least, most] = [Math.min(...pairs), Math.max(...pairs)];
  if (least > 0.9995) return "One vector for all uses: it can't tell them apart.";
  if (pairs.length === 1) return `Their cosine is ${cosine(least)}. ${plane}`;
  return `Cosines from ${cosine(least)} to ${cosine(most)}. ${plane}`;
}
