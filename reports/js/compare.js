// Several runs: paired differences, interleaved by localizer.

function drawCompare() {
  const host = byId("contrasts");
  if (!host) return;
  const models = [...new Set(data.lines.map((line) => line.model))];
  const parts = [];
  for (const set of data.sets) {
    if (state.scope >= 0 && set.index !== state.scope) continue;
    const rows = shown.changes.filter((row) => row.test_set === set.index);
    if (!rows.length) continue;
    const conditions = data.conditions.filter((c) => rows.some((row) => row.spec === c.index));
    const body = el("tbody", {});
    for (const model of models) {
      const lines = data.lines.filter((line) => line.model === model && passes(line));
      const base = lines.find((line) => line.run === 0);
      const others = data.runs.slice(1).filter((run) => rows.some((row) => row.model === model && row.run === run));
      if (!base || !others.length) continue;
      body.append(el("tr", { class: "base" }, el("th", { scope: "row" }, model, " ", el("small", {}, data.runs[0])), conditions.map((c) => el("td", {}, fixed(find(set.index, base.index, c.index)?.mean)))));
      for (const run of others) {
        const change = new Map(rows.filter((row) => row.model === model && row.run === run).map((row) => [row.spec, row]));
        body.append(el("tr", {}, el("th", { scope: "row" }, el("small", {}, `${run} − ${data.runs[0]}`)), conditions.map((c) => contrastCell(change.get(c.index)))));
      }
    }
    if (!body.rows.length) continue;
    parts.push(el("h3", {}, set.title), scrolling(`Differences on ${set.title}`, el("table", { class: "plain contrasts" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, `${metric().title}, ${protocol().name}`), conditions.map((c) => el("th", { scope: "col", class: "n" }, c.name)))), body)));
  }
  host.replaceChildren(...(parts.length ? parts : [el("p", { class: "empty" }, "The runs share no localizer on the same images under this metric and protocol.")]));
}

function contrastCell(row) {
  if (!row || !known(row.difference)) return el("td", {}, "–");
  const sure = known(row.p) && row.p < 0.05;
  const better = sign() * row.difference > 0;
  return el("td", { class: sure ? (better ? "better" : "worse") : "" }, el("b", {}, sure ? (better ? "▲ " : "▼ ") : "", signed(row.difference)), el("small", {}, interval(row.low, row.high)), el("small", {}, `n ${row.n}`));
}
