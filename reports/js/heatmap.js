// Heat map of one test set: localizer x level, values in the cells.

// seaborn's palette "mako" at eleven places, from low to high
const PALETTE = ["#211423", "#332345", "#3e356b", "#40498e", "#38629d", "#357ba3", "#3492a8", "#38aaac", "#4bc2ad", "#79d6ae", "#b2e4c2"];

function paletteAt(share) {
  const place = Math.max(0, Math.min(1, share)) * (PALETTE.length - 1);
  const [i, rest] = [Math.min(PALETTE.length - 2, Math.floor(place)), place - Math.min(PALETTE.length - 2, Math.floor(place))];
  const part = (hex, k) => parseInt(hex.slice(1 + 2 * k, 3 + 2 * k), 16);
  return [0, 1, 2].map((k) => Math.round(part(PALETTE[i], k) * (1 - rest) + part(PALETTE[i + 1], k) * rest));
}

/** Relative luminance (WCAG 2) of a colour of 0..255. */
const luminance = (rgb) => rgb.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);

function drawHeat(block, host) {
  const scored = block.shown.filter((row) => known(row.mean)).map((row) => row.mean);
  const [low, high] = [Math.min(...scored), Math.max(...scored)];
  const share = (value) => { const s = high > low ? (value - low) / (high - low) : 0.5; return sign() < 0 ? 1 - s : s; };
  const order = [...block.identity, ...[...block.families.values()].flat().filter((c) => !c.identity)];
  const mean = (line) => { const v = block.rows.filter((r) => r.line === line.index && known(r.mean)).map((r) => r.mean); return v.length ? v.reduce((a, b) => a + b, 0) / v.length : null; };
  const lines = [...block.visible].sort((a, b) => comparing(mean(a), mean(b), -sign()));
  const heads = [["unperturbed", block.identity], ...[...block.families].map(([name, list]) => [name, list.filter((c) => !c.identity)])].filter(([, list]) => list.length);
  const cell = (line, condition) => {
    const row = find(block.set, line.index, condition.index);
    if (!row || !known(row.mean)) return el("td", {}, el("span", { class: "na" }, row ? missing(row) : "–"));
    const rgb = paletteAt(share(row.mean));
    const ink = luminance(rgb) > 0.18 ? "#000000" : "#ffffff";
    return el("td", {}, el("button", {
      type: "button", tabindex: -1, style: `background:rgb(${rgb.join(" ")});color:${ink}`, "data-line": line.index, "data-condition": condition.index,
      "aria-label": `${line.name}, ${condition.name}: ${fixed(row.mean)}. Show images`,
      onclick: () => go({ cell: { set: block.set, line: line.index, condition: condition.index, image: null } }),
    }, fixed(row.mean, 2)));
  };
  const table = el("table", { class: "heat" },
    el("thead", {},
      el("tr", {}, el("td", { class: "model" }), heads.map(([name, list]) => el("th", { scope: "colgroup", colspan: list.length }, name))),
      el("tr", {}, el("th", { scope: "col", class: "model" }, "Localizer"), order.map((c) => el("th", { scope: "col" }, c.identity ? "none" : c.level || c.family)))),
    el("tbody", {}, lines.map((line) => el("tr", {}, el("th", { scope: "row", class: "model", title: line.title }, line.name + dagger(block.set, line.index)), order.map((c) => cell(line, c))))));
  roam(table);
  host.replaceChildren(el("p", { class: "caption" }, el("b", {}, metric().title), `, mean over images (${counts(block)}), best mean first; ${fixed(low, 2)} dark to ${fixed(high, 2)} light. `, ...protocolNote(), " Click a cell to see its images."), scrolling("Heat map", table));
}
