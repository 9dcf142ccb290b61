// How far context has moved a word, and which words it is near to before and after.

import { byId, cosine, el } from "./dom.js";

/**
 * The cosines.
 *
 * @param found the answer of /explain
 * @param {number|null} changed 1 - cosine to the word by itself, by the served model; null if the
 *   vectors are not those of the served model
 */
export function showDistance(found, changed) {
  const last = 1 - found.moved.at(-1);
  const figures = [figure(last, "to its static vector", "the same in every text")];
  if (changed !== null && found.rung !== "parameter-free" && found.moved.length > 1) {
    figures.unshift(figure(1 - changed, "to the word by itself", "read by the same model, no context"));
  }
  const rows = found.moved.map((moved, layer) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, layer === 0 ? "static" : `layer ${layer}`),
      el("td", {}, el("span", { class: "meter", "--part": Math.max(0, 1 - moved).toFixed(3) })),
      el("td", { class: "number" }, cosine(1 - moved)),
    ),
  );
  const deep = ["learned", "pretrained"].includes(found.rung);
  byId("distance").replaceChildren(
    el("div", { class: "figures" }, figures),
    found.moved.length > 1
      ? el(
          "table",
          { class: "steps" },
          el("caption", {}, "Cosine to the static vector, layer by layer"),
          el("tbody", {}, rows),
        )
      : el("p", { class: "hint" }, "A static vector knows no context: it never moves."),
    deep
      ? el(
          "p",
          { class: "hint" },
          "Learned layers write into a space of their own, so every word leaves its static vector; how much this sentence did is in the cosine to the word by itself.",
        )
      : "",
  );
}

function figure(value, what, explained) {
  return el(
    "div",
    { class: "figure" },
    el("span", { class: "value" }, cosine(value)),
    el("span", { class: "what" }, `cosine ${what}`),
    el("span", { class: "hint" }, explained),
  );
}

/** Words near the static vector and near the contextual one; either may be yet to come (null). */
export function showNearest(rung, before, after, said = "looking …") {
  const known = new Set((before ?? []).map((near) => near.word));
  byId("nearest").replaceChildren(
    el(
      "div",
      { class: "near" },
      rung === "static"
        ? list("Nearest words", rung, before, () => false, said)
        : [
            list("Nearest before", "static", before, () => false, said),
            list("Nearest after", rung, after, (near) => before && !known.has(near), said),
          ],
    ),
    el(
      "p",
      { class: "hint" },
      "Words of the vocabulary by themselves.",
      rung === "static" ? "" : " Marked: near only in this sentence.",
    ),
  );
}

function list(title, rung, nearest, isNew, said) {
  const items = (nearest ?? []).map(({ word, similarity }) =>
    el(
      "li",
      { class: isNew(word) ? "new" : null },
      el("bdi", {}, word),
      el("span", { class: "number" }, cosine(similarity)),
    ),
  );
  return el(
    "div",
    {},
    el("h3", {}, title, " ", el("span", { class: "hint" }, rung)),
    nearest === null ? el("p", { class: "hint" }, said) : el("ol", {}, items),
  );
}
