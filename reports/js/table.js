// Table of one test set: every mean with interval, n and rank.

function drawTable(block, host) {
  const means = block.shown.filter((row) => known(row.mean)).map((row) => row.mean);
  const [low, high] = [Math.min(...means), Math.max(...means)];
  const warmth = (row) => { const s = metric().ranked && high > low ? (row.mean - low) / (high - low) : 0; return metric().ranked && sign() < 0 ? 1 - s : s; };
  const sort = state.table.get(block.set) ?? { column: null, ascending: false };
  const lines = sortedLines(block, sort);
  const heads = [["unperturbed", block.identity], ...[...block.families].map(([name, list]) => [name, list.filter((c) => !c.identity)])].filter(([, list]) => list.length);
  const starts = new Set(heads.map(([, list]) => list[0].index));
  const edge = (column) => (starts.has(column) ? "first" : "");
  const order = heads.flatMap(([, list]) => list);
  const head = (column, content, label) => el("th", { scope: "col", class: column === "model" ? "model" : edge(column), "aria-sort": sort.column === column ? (sort.ascending ? "ascending" : "descending") : null },
    el("button", { type: "button", title: `Sort by ${label}`, onclick: () => resort(block.set, column, sort) }, content));
  const table = el("table", { class: "means" },
    el("thead", {},
      el("tr", {}, el("td", { class: "model" }), heads.map(([name, list]) => el("th", { scope: "colgroup", colspan: list.length, class: "first" }, name))),
      el("tr", {}, head("model", "Localizer", "name"), order.map((c) => head(c.index, c.identity ? "none" : c.level || c.name, c.name)))),
    el("tbody", {}, lines.map((line) => el("tr", { "data-line": line.index },
      el("th", { scope: "row", class: "model", title: line.title }, several ? el("small", {}, data.runs[line.run]) : "", line.model + dagger(block.set, line.index)),
      order.map((c) => meanCell(block, line, c, warmth, edge(c.index)))))));
  roam(table);
  const daggers = block.lines.some((line) => dagger(block.set, line.index));
  const caption = el("p", { class: "caption" }, el("b", {}, metric().title), metric().whole ? " of the whole set, without interval, number of images n. " : ": mean over images, 95 % bootstrap interval, number of images n. ", ...protocolNote(), " Click a cell to see its images.",
    daggers ? " † trained on images of this test set." : "", block.shown.some((row) => !known(row.mean)) ? " n/a: not applicable." : "",
    metric().ranked && high > low ? [` Shade: ${fixed(low, 2)} `, el("span", { class: "scale" }), ` ${fixed(high, 2)}.`] : "");
  const open = block.lines.length <= 12 || state.table.has(block.set) || host.querySelector("details[open]");
  host.replaceChildren(el("details", { open: Boolean(open) }, el("summary", {}, "All values"), caption, scrolling("All values", table)));
}

function sortedLines(block, sort) {
  const direction = sort.ascending ? 1 : -1;
  if (sort.column === null) return block.visible;
  if (sort.column === "model") return [...block.visible].sort((p, q) => -direction * p.name.localeCompare(q.name));
  const mean = (line) => find(block.set, line.index, sort.column)?.mean ?? null;
  return [...block.visible].sort((p, q) => comparing(mean(p), mean(q), direction));
}

async function resort(set, column, sort) {
  const table = new Map(state.table);
  table.set(set, { column, ascending: sort.column === column && !sort.ascending });
  const host = document.querySelector(`[data-set="${set}"] .table`);
  const scrolled = host.querySelector(".scroll").scrollLeft;
  await replace({ table });
  host.querySelector(".scroll").scrollLeft = scrolled;
  host.querySelector("th[aria-sort] button").focus({ preventScroll: true });
}

function meanCell(block, line, condition, warmth, edge) {
  const row = find(block.set, line.index, condition.index);
  if (!row) return el("td", { class: edge }, el("span", { class: "none", title: "not part of this run" }, "–"));
  const empty = !known(row.mean);
  const notes = [row.n_failed ? el("small", { class: "bad" }, `${row.n_failed} failed`) : "", row.n_not_applicable && !empty ? el("small", {}, `${row.n_not_applicable} n/a`) : "", row.n_skipped ? el("small", {}, `${row.n_skipped} skipped`) : ""];
  const content = empty ? [el("b", { class: "na" }, missing(row)), ...notes]
    : [el("b", {}, fixed(row.mean)), el("small", {}, known(row.low) ? interval(row.low, row.high) : "no interval"), el("small", {}, `n ${row.n}`), ...notes];
  return el("td", { class: edge }, el("button", {
    type: "button", tabindex: -1, "data-line": line.index, "data-condition": condition.index, style: empty ? null : `--warmth:${warmth(row).toFixed(3)}`,
    "aria-label": `${line.name}, ${condition.name}: ${empty ? missing(row) : `${fixed(row.mean)} ${interval(row.low, row.high)}, n ${row.n}`}. Show images`,
    onclick: () => go({ cell: { set: block.set, line: line.index, condition: condition.index, image: null } }),
  }, content));
}

/** One tab stop per table; arrow keys move between its cells. */
function roam(table) {
  const grid = [...table.tBodies[0].rows].map((tr) => [...tr.cells].map((td) => td.querySelector("td button")));
  const start = grid.flat().find((button) => button);
  if (start) start.tabIndex = 0;
  table.tBodies[0].addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const td = event.target.closest("td");
    if (!step || !td) return;
    event.preventDefault();
    const next = grid[td.parentElement.sectionRowIndex + step[0]]?.[td.cellIndex + step[1]];
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}
