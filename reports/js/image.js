// One image: all localizers and levels in a grid.

async function showImage({ set, image }) {
  const names = data.sets[set].images;
  const lines = data.lines.filter((line) => passes(line) && !state.hidden.has(line.index) && (state.only === null || state.only === line.index));
  const stored = await Promise.all(lines.map((line) => cellsOf(line.index, set)));
  const levels = data.conditions.filter((c) => stored.some((one) => one?.conditions[c.index]));
  const cellAt = (k, condition) => {
    const column = stored[k]?.conditions[condition];
    const i = column ? column.image.indexOf(image) : -1;
    if (i < 0) return null;
    return {
      set, line: lines[k].index, condition, image, code: column.pictures ? column.pictures[i] : 0, tampered: data.sets[set].tampered[image] === "1", oracle: column.oracle[i] === "1",
      value: column.values[`${protocol().name}.${metric().name}`]?.[i] ?? null, status: Number(column.status[i]), reason: column.reason[i] ?? "",
    };
  };
  const grid = lines.map((_, k) => levels.map((c) => cellAt(k, c.index)));
  const first = (column) => grid.map((row) => row[column]).find(Boolean);
  const step = (by, content, label) => el("button", { type: "button", "data-step": by, "aria-label": label, disabled: names[image + by] === undefined, onclick: () => replace({ image: { set, image: image + by } }) }, content);
  const photoRow = el("tr", {}, el("th", { scope: "row" }, "Photo"), levels.map((_, column) => el("td", {}, first(column) ? figure("photo", first(column), { caption: false }) : "–")));
  const row = (line, k) => el("tr", {}, el("th", { scope: "row", title: line.title }, line.name + dagger(set, line.index)), grid[k].map((one) => el("td", {}, one
    ? [one.status === 0 ? figure("score", one, { caption: false, onclick: () => go({ image: null, cell: { set, line: one.line, condition: one.condition, image } }) }) : el("span", { class: "blank", title: one.reason }, STATUS[one.status]), el("small", {}, known(one.value) ? fixed(one.value) : "")]
    : el("span", { class: "na" }, "–"))));
  const truth = first(0);
  drillBody.replaceChildren(
    el("div", { class: "drill-head" },
      el("div", {}, el("h2", { id: "drill-title" }, names[image]), el("p", { class: "muted" }, `${data.sets[set].title}; image ${image + 1} of ${names.length}; ${data.sets[set].tampered[image] === "1" ? "tampered" : "authentic"}; ${metric().title} (${protocol().name}) below each map`)),
      el("div", { class: "buttons" }, step(-1, "↑", "Previous image"), step(1, "↓", "Next image"), el("button", { type: "button", id: "drill-close", onclick: () => drill.close() }, "Close"))),
    el("div", { class: "of-image" }, truth && truth.tampered ? el("div", { class: "truth-large" }, figure("truth", truth)) : "",
      scrolling(`${names[image]}: all localizers and levels`, el("table", { class: "grid-of-maps" },
        el("thead", {}, el("tr", {}, el("td"), levels.map((c) => el("th", { scope: "col" }, c.name)))), el("tbody", {}, photoRow, lines.map(row))))),
    mapScale(),
    el("p", { class: "caption" }, "The same as a figure: ", el("code", {}, `python -m bench show RUN ${names[image]}`)));
  openDialog();
  drill.scrollTop = 0;
}
