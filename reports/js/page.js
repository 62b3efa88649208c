// Controls, sections and the address brought together.

const VIEWS = { curves: "Curves by perturbation", heat: "Heat map", single: "One panel per localizer" };
const viewOf = (block) => state.view || (block.lines.length > 8 ? "heat" : "curves");

function drawResults() {
  const m = metric();
  byId("definition").replaceChildren(...(m.definition ? [el("b", {}, m.title), `: ${m.definition}`] : []));
  for (const section of document.querySelectorAll(".test-set")) {
    const set = Number(section.dataset.set);
    section.hidden = state.scope >= 0 && state.scope !== set && data.sets.length > 1;
    if (section.hidden) continue;
    const block = blockOf(set);
    const [views, curves, table] = ["views", "curves", "table"].map((name) => section.querySelector(`.${name}`));
    views.replaceChildren();
    if (!block.rows.length) {
      curves.replaceChildren(el("p", { class: "empty" }, `No ${m.title} under protocol “${protocol().name}” on this test set. Choose another metric or protocol.`));
      table.replaceChildren();
      continue;
    }
    views.replaceChildren(...Object.entries(VIEWS).map(([name, title]) => el("button", { type: "button", "aria-pressed": String(viewOf(block) === name), "data-view": name, onclick: () => replace({ view: name }) }, title)));
    if (!block.visible.length) curves.replaceChildren(el("p", { class: "empty" }, "No localizer passes the filter."));
    else if (!block.shown.some((row) => known(row.mean))) curves.replaceChildren(el("p", { class: "empty" }, "No image has a value here; the table says why."));
    else ({ curves: drawCurves, heat: drawHeat, single: drawSingles })[viewOf(block)](block, curves);
    drawTable(block, table);
  }
}

function drawControls() {
  for (const [id, value] of [["metric", state.metric], ["protocol", state.protocol], ["scope", state.scope], ["family", state.family], ["group", state.group]]) byId(id).value = String(value);
  if (byId("find").value !== state.find) byId("find").value = state.find;
  const metrics = offered(state.protocol);
  for (const option of byId("metric").options) option.disabled = !metrics.has(Number(option.value));
}

let drawn = ""; // the address without dialog that the page shows now
let turn = 0;

/** Bring the page to what the address says. */
async function update() {
  readAddress();
  turn += 1;
  const mine = turn;
  shown = await numbers(numbersOf(state.protocol, state.metric));
  if (mine !== turn) return;
  const now = address({ cell: null, image: null, at: "" });
  if (now !== drawn) {
    drawn = now;
    drawControls();
    byId("answer-text").innerHTML = shown.answers[String(state.scope)] ? `<p>${shown.answers[String(state.scope)]}</p>` : "";
    await drawBoard();
    drawResults();
    drawCompare();
  }
  if (state.cell) await showCell(state.cell);
  else if (state.image) await showImage(state.image);
  else if (drill.open) drill.close();
}

function start() {
  if (!data.metrics.length || !data.protocols.length || !data.headline) return;
  const option = (value, text) => el("option", { value }, text);
  byId("metric").append(...data.metrics.map((m, i) => option(i, m.title)));
  byId("protocol").append(...data.protocols.map((p, i) => option(i, `${p.name} v${p.version}`)));
  byId("scope").append(...(data.together ? [option(-1, "All, mean over sets")] : []), ...data.sets.map((s, i) => option(i, s.title)));
  byId("family").append(option(-1, "All"), ...data.families.map((f, i) => option(i, f.name)));
  const groups = [...new Set(data.lines.flatMap((line) => line.groups))].sort();
  byId("group").append(option("", "All"), ...groups.map((g) => option(g, g)));
  document.querySelector(".of-sets").hidden = data.sets.length < 2;
  document.querySelector(".of-groups").hidden = groups.length < 2;
  for (const id of ["scope", "family"]) byId(id).addEventListener("change", () => replace({ [id]: Number(byId(id).value) }));
  byId("metric").addEventListener("change", () => replace({ metric: Number(byId("metric").value) }));
  byId("protocol").addEventListener("change", () => {
    const p = Number(byId("protocol").value);
    replace({ protocol: p, metric: offered(p).has(state.metric) ? state.metric : Math.min(...offered(p)) });
  });
  byId("group").addEventListener("change", () => replace({ group: byId("group").value }));
  byId("find").addEventListener("input", () => replace({ find: byId("find").value }));
  document.querySelector("nav").addEventListener("click", (event) => {
    const id = event.target.closest("a")?.hash.slice(1);
    if (!id) return;
    event.preventDefault();
    replace({ at: id });
    byId(id).scrollIntoView();
  });
  addEventListener("hashchange", update);
  let width = document.body.clientWidth;
  new ResizeObserver(() => {
    if (Math.abs(document.body.clientWidth - width) < 8) return;
    width = document.body.clientWidth;
    if (shown) drawResults();
  }).observe(document.body);
  update().then(() => { if (state.at) byId(state.at)?.scrollIntoView(); });
}

start();
