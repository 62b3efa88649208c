// The leaderboard: per localizer how good, how robust, how sure, on one axis.

const PLACES = {
  ranked: "", control: "Control: looks at no trace of forgery", trained: "Trained on these images, not ranked",
  "other images": "Measured on fewer images, not ranked", "no value": "Without a value",
};

function boardRows() {
  const rows = shown.board.filter((row) => row.test_set === state.scope && row.family === state.family);
  return rows.filter((row) => passes(data.lines[row.line]));
}

/** A value of the leaderboard by which it can be sorted. */
const KEYS = {
  rank: (row) => row.rank, name: (row) => row.line, clean: (row) => row.clean, perturbed: (row) => row.perturbed, worst: (row) => row.worst,
  retained: (row) => row.retained, drop: (row) => row.drop, image: (row) => imageValue(row), seconds: (row) => data.lines[row.line].seconds, n: (row) => row.n,
};
let imageNumbers = null;
const imageValue = (row) => imageNumbers?.get(`${row.test_set}|${row.line}`) ?? null;

function sortedBoard(rows) {
  const places = Object.keys(PLACES);
  const direction = state.ascending ? 1 : -1;
  const merit = ["clean", "perturbed", "worst"].includes(state.sort) ? sign() : 1;
  const value = KEYS[state.sort] ?? KEYS.clean;
  return [...rows].sort((a, b) => {
    const place = places.indexOf(a.placed) - places.indexOf(b.placed);
    if (place) return place;
    if (state.sort === "name") return direction * data.lines[b.line].name.localeCompare(data.lines[a.line].name);
    return comparing(value(a), value(b), direction * merit) || a.line - b.line;
  });
}

/** Common axis of all dots: their intervals, and chance where it is near. */
function boardAxis(rows) {
  const values = rows.flatMap((r) => [r.clean, r.clean_low, r.clean_high, r.perturbed]).filter(known);
  if (!values.length) return { low: 0, high: 1, ticks: [0, 0.5, 1] };
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const chance = metric().chance;
  if (known(chance) && chance > low - 0.3 && chance < high + 0.3) [low, high] = [Math.min(low, chance), Math.max(high, chance)];
  return niceAxis(low, high, 5);
}

/** Rounded limits and ticks. */
function niceAxis(low, high, most) {
  if (high - low < 0.1) [low, high] = [low - 0.05, high + 0.05];
  const step = [0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 50].find((s) => (high - low) / s <= most) ?? (high - low) / most;
  const ticks = [];
  for (let i = Math.floor(low / step + 1e-9); i <= Math.ceil(high / step - 1e-9); i += 1) ticks.push(Number((i * step).toFixed(6)));
  return { low: ticks[0], high: ticks.at(-1), ticks };
}

function dots(row, axis) {
  const x = (value) => `${(3 + (94 * (value - axis.low)) / (axis.high - axis.low)).toFixed(2)}%`;
  const chance = metric().chance;
  const parts = [svg("line", { class: "rule", x1: "3%", x2: "97%", y1: 10, y2: 10 })];
  if (known(chance) && chance >= axis.low && chance <= axis.high) parts.push(svg("line", { class: "chance", x1: x(chance), x2: x(chance), y1: 0, y2: 20 }));
  if (known(row.clean_low) && row.n_of > 1) parts.push(svg("line", { class: row.n < 10 ? "span rough" : "span", x1: x(row.clean_low), x2: x(row.clean_high), y1: 10, y2: 10 }));
  if (known(row.perturbed)) parts.push(svg("circle", { class: "after", cx: x(row.perturbed), cy: 10, r: 3.6 }));
  if (known(row.clean)) parts.push(svg("circle", { class: "before", cx: x(row.clean), cy: 10, r: 4.4 }));
  return svg("svg", { class: "dots", role: "img", "aria-label": `${fixed(row.clean)} unperturbed, ${fixed(row.perturbed)} perturbed` }, parts);
}

function axisHead(axis) {
  const place = (value) => `${3 + (94 * (value - axis.low)) / (axis.high - axis.low)}%`;
  return el("span", { class: "ticks", "aria-hidden": "true" }, axis.ticks.map((t) => el("span", { style: `left:${place(t)}` }, fixed(t, t * 10 % 1 ? 2 : 1))));
}

async function drawBoard() {
  const host = byId("board");
  const rows = sortedBoard(boardRows());
  const imageName = data.imageMetric;
  imageNumbers = null;
  if (imageName && !metric().whole) {
    const image = await numbers(imageName);
    imageNumbers = new Map(image.board.filter((r) => r.family === -1).map((r) => [`${r.test_set}|${r.line}`, r.clean]));
  }
  const withImage = imageNumbers && rows.some((row) => known(imageValue(row)));
  const withLevels = rows.some((row) => row.levels > 0);
  const withRank = !metric().whole && metric().ranked && rows.some((row) => known(row.rank));
  const withLicence = rows.some((row) => data.lines[row.line].licence);
  const axis = boardAxis(rows);
  const family = state.family < 0 ? "" : data.families[state.family].name;
  const columns = [
    withRank && { key: "rank", head: "Rank", up: true, title: "1 + localizers that the paired test tells to be better" },
    { key: "name", head: "Localizer", up: true },
    { key: "", head: axisHead(axis), dots: true },
    { key: "clean", head: "Unperturbed", title: "mean over the unperturbed images, 95 % interval" },
    withLevels && { key: "perturbed", head: family ? `Mean, ${family}` : "Perturbed", title: "mean over images of the mean over the levels, 95 % interval" },
    withLevels && { key: "retained", head: "Retained", title: "share of the excess over chance that is kept" },
    withLevels && { key: "drop", head: "Drop", title: "unperturbed minus perturbed on the same images, paired 95 % interval", up: true },
    withLevels && { key: "worst", head: "Worst level", title: "the level with the smallest mean" },
    withImage && { key: "image", head: "Image AUC", title: "tampered against authentic images, unperturbed" },
    { key: "seconds", head: "s / image", up: true, title: "median seconds of localizing one image" },
    { key: "n", head: "n", title: "images with a value" },
    withLicence && { key: "", head: "Licence" },
  ].filter(Boolean);
  const order = (column) => (state.sort === column.key ? (state.ascending ? "ascending" : "descending") : null);
  const head = (column) => {
    const attributes = { scope: "col", class: column.dots ? "of-dots" : `of-${column.key || "licence"}`, "aria-sort": column.key ? order(column) : null };
    if (column.dots) return el("td", { class: "of-dots" }, column.head);
    if (!column.key) return el("th", attributes, column.head);
    const next = state.sort === column.key ? !state.ascending : Boolean(column.up);
    return el("th", attributes, el("button", { type: "button", title: column.title ?? null, "data-key": column.key, onclick: async () => {
      await replace({ sort: column.key, ascending: next });
      document.querySelector(`#board button[data-key="${column.key}"]`)?.focus();
    } }, column.head));
  };
  const table = el("table", { class: "board" }, el("thead", {}, el("tr", {}, columns.map(head))));
  let place = null;
  let body = null;
  const rankKey = state.sort === "perturbed" ? "rank_perturbed" : "rank";
  const tiesKey = rankKey === "rank" ? "tied" : "tied_perturbed";
  const first = (run) => rows.filter((row) => known(row[rankKey]) && data.lines[row.line].run === run).sort((a, b) => comparing(a[state.sort === "perturbed" ? "perturbed" : "clean"], b[state.sort === "perturbed" ? "perturbed" : "clean"], -sign()));
  const best = new Set(data.runs.map((_, run) => first(run)).filter((list) => list.length > 1 && list[0][tiesKey] === 0).map((list) => list[0]));
  for (const row of rows) {
    if (row.placed !== place) {
      place = row.placed;
      body = el("tbody", { "data-placed": place });
      if (PLACES[place]) body.append(el("tr", { class: "apart" }, el("th", { colspan: columns.length, scope: "rowgroup" }, PLACES[place])));
      table.append(body);
    }
    body.append(boardRow(row, columns, axis, rankKey, best.has(row)));
  }
  host.replaceChildren(...(rows.length ? [scrolling("Leaderboard", table)] : [el("p", { class: "empty" }, noRows())]), el("div", { class: "notes" }, boardNotes(rows, withRank)));
}

function noRows() {
  if (state.find || state.group) return "No localizer passes the filter.";
  return `No ${metric().title} here${state.scope < 0 ? "" : ` on ${data.sets[state.scope].title}`} under protocol “${protocol().name}”. Choose another metric or protocol.`;
}

function boardRow(row, columns, axis, rankKey, best) {
  const line = data.lines[row.line];
  const troubles = data.troubles.filter((t) => t.line === row.line && (state.scope < 0 || t.set === state.scope));
  const clean = data.conditions.findIndex((c) => c.identity);
  const worst = row.worst_spec < 0 ? null : data.conditions[row.worst_spec];
  const set = state.scope < 0 ? (data.sets.length === 1 ? 0 : null) : state.scope;
  const jump = (condition, content, label) => (set === null || condition < 0 || !find(set, line.index, condition) ? content
    : el("button", { type: "button", class: "jump", "aria-label": `${label}. Show images`, onclick: () => go({ cell: { set, line: line.index, condition, image: null }, image: null }) }, content));
  const few = row.n > 1 && row.n < 10;
  const value = (mean, low, high) => (known(mean) ? [el("b", {}, fixed(mean)), " ", el("small", { class: few ? "rough" : "" }, row.n_of > 1 ? interval(low, high, 2) : "")] : el("span", { class: "na" }, "n/a"));
  const cells = {
    rank: () => (known(row[rankKey]) ? `${row[rankKey]}${tied(row, rankKey) ? "=" : ""}` : "–"),
    name: () => [line.name, row.placed === "trained" ? "†" : "", troubles.length ? el("span", { class: "trouble", title: troubles.map((t) => t.said.join(" ")).join(" ") }, "!") : ""],
    clean: () => jump(clean, value(row.clean, row.clean_low, row.clean_high), `${line.name}, unperturbed: ${fixed(row.clean)}`),
    perturbed: () => value(row.perturbed, row.perturbed_low, row.perturbed_high),
    retained: () => percent(row.retained),
    drop: () => (known(row.drop) ? [fixed(row.drop), " ", el("small", {}, interval(row.drop_low, row.drop_high, 2))] : "–"),
    worst: () => (worst ? jump(row.worst_spec, [fixed(row.worst), " ", el("small", {}, worst.name)], `${line.name}, ${worst.name}: ${fixed(row.worst)}`) : "–"),
    image: () => fixed(imageValue(row)),
    seconds: () => seconds(line.seconds),
    n: () => (row.n === null ? "–" : row.n === row.n_of ? String(row.n) : `${row.n} of ${row.n_of}`),
  };
  return el("tr", { class: `${best ? "best" : ""}`, "data-line": line.index, "data-model": line.model }, columns.map((column) => {
    if (column.dots) return el("td", { class: "of-dots" }, dots(row, axis));
    if (column.key === "name") return el("th", { scope: "row", class: "of-name", title: line.title }, cells.name());
    return el("td", { class: `of-${column.key || "licence"}` }, column.key ? cells[column.key]() : line.licence || "–");
  }));
}

/** Whether others share the rank of a row in its run. */
const tied = (row, key) => boardRows().some((other) => other !== row && other[key] === row[key] && data.lines[other.line].run === data.lines[row.line].run);

function boardNotes(rows, withRank) {
  const notes = [];
  const chance = known(metric().chance) ? `; dashed: chance (${fixed(metric().chance, 1)})` : "";
  const legend = rows.some((row) => row.levels > 0) ? "● unperturbed with 95 % interval, ○ mean over perturbations" : "● unperturbed with 95 % interval";
  notes.push(el("p", { class: "caption" }, `${metric().title}, protocol ${protocol().name} v${protocol().version}. ${legend}${chance}.`,
    withRank ? " Rank: one more than the localizers that the paired bootstrap (Holm, 5 %) shows to be better; = another has the same rank; bold: better than all others." : ""));
  const few = rows.filter((row) => row.n_of > 0 && row.n_of < 10);
  if (few.length) notes.push(el("p", { class: "caption warn", id: "few" }, `${plural(Math.max(...few.map((row) => row.n_of)), "image")}: ${Math.max(...few.map((row) => row.n_of)) === 1 ? "no interval can be drawn." : "the intervals are drawn dashed because so few images make them rough."}`));
  const over = rows.some((row) => known(row.clean)) ? "over_control" : "over_control_perturbed";
  const beaten = rows.filter((row) => row.placed === "ranked" && known(row[over]));
  if (rows.some((row) => row.placed === "control")) {
    const ahead = beaten.filter((row) => row[over] < 0.05).map((row) => data.lines[row.line].name);
    notes.push(el("p", { class: "caption", id: "over-control" }, ahead.length ? `Shown to beat the control: ${ahead.join(", ")}.` : "No ranked localizer is shown to beat the control."));
  }
  const said = data.troubles.filter((t) => rows.some((row) => row.line === t.line) && (state.scope < 0 || t.set === state.scope));
  if (said.length) notes.push(el("ul", { class: "troubles" }, said.map((t) => el("li", {}, el("b", {}, data.lines[t.line].name), state.scope < 0 && data.sets.length > 1 ? ` on ${data.sets[t.set].title}` : "", ": ", t.said.join(" ")))));
  return notes;
}
