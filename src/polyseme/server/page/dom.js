// Elements from plain values. Text only ever becomes text: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: attributes, then children; an attribute that is null or false is left out. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** An SVG element. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

export const byId = (id) => document.getElementById(id);

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    // Custom properties go by the object model, as the page's policy allows no style attribute.
    if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null));
  return node;
}

/** A group of radio buttons that looks like one switch; the legend of the fieldset stays. */
export function choice(fieldset, options, chosen, onChoose) {
  const name = `${fieldset.id}-choice`;
  const labels = options.map(({ value, label, title }) =>
    el(
      "label",
      { title },
      el("input", {
        type: "radio",
        name,
        value,
        checked: value === chosen,
        onchange: () => onChoose(value),
      }),
      el("span", {}, label),
    ),
  );
  const focused = fieldset.contains(document.activeElement);
  fieldset.replaceChildren(fieldset.querySelector("legend"), el("div", {}, labels));
  if (focused) fieldset.querySelector("input:checked")?.focus();
}

/** The options of a select, and which one is chosen. */
export function options(select, values, chosen) {
  select.replaceChildren(
    ...values.map(([value, label]) => el("option", { value, selected: value === chosen }, label)),
  );
}

/** A sentence's number in its colour. */
export function badge(number, extra = "") {
  return el("span", { class: `badge hue${hueOf(number)}` }, `${number}${extra}`);
}

/** Six colours; numbers tell sentences apart, colours only help. */
export const hueOf = (number) => ((number - 1) % 6) + 1;

export const percent = (share) => `${(share * 100).toFixed(0)}%`;

/** A cosine with its sign, and never "-0.00". */
export function cosine(value) {
  const text = value.toFixed(2);
  return text === "-0.00" ? "0.00" : text.replace("-", "\u2212");
}

/** The direction that a text is read in, by its first letter. */
export function direction(text) {
  const letter = /\p{L}/u.exec(text)?.[0] ?? "";
  return /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/.test(letter) ? "rtl" : "ltr";
}
