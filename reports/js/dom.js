// Elements and numbers as text.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  const wanted = (child) => child !== null && child !== undefined && child !== "" && child !== false;
  node.append(...children.flat(Infinity).filter(wanted));
  return node;
}
const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = (id) => document.getElementById(id);

const known = (value) => value !== null && value !== undefined;

/** ".713", "−.020", "1.000", "–" for nothing. */
function fixed(value, digits = 3) {
  if (!known(value)) return "–";
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−").replace(/^(−?)0\./, "$1.");
}
const signed = (value, digits = 3) => (known(value) && Number(value.toFixed(digits)) > 0 ? `+${fixed(value, digits)}` : fixed(value, digits));
const interval = (low, high, digits = 3) => (known(low) ? `[${fixed(low, digits)}, ${fixed(high, digits)}]` : "");
const percent = (value) => (known(value) ? `${Math.round(100 * value)}\u00a0%`.replace("-", "−") : "–");
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const seconds = (value) => (!known(value) ? "–" : value >= 10 ? value.toFixed(0) : value >= 0.1 ? value.toFixed(2) : value.toFixed(3));
const comparing = (a, b, sign) => (known(a) && known(b) ? sign * (a - b) : Number(!known(a)) - Number(!known(b)));

/** A table that scrolls sideways, reachable by keyboard. */
const scrolling = (label, table) => el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, table);
