// What is shown, kept in the address so that a link leads to the same view.

const state = {
  metric: 0, protocol: 0, scope: -1, family: -1, group: "", find: "", sort: "clean", ascending: false,
  view: "", hidden: new Set(), only: null, table: new Map(), image: null, cell: null, at: "",
};
let shown = null; // the numbers of the chosen metric and protocol

const metric = () => data.metrics[state.metric];
const protocol = () => data.protocols[state.protocol];
const sign = () => (metric().direction === "down" ? -1 : 1);
const indexOf = (list, key, value) => list.findIndex((item) => item[key] === value);
const offered = (p) => new Set(data.offered.filter(([of]) => of === p).map(([, m]) => m));
const find = (set, line, condition) => shown.index.get(`${set}|${line}|${condition}`);

/** Whether a line passes the group filter and the search. */
function passes(line) {
  const words = state.find.toLowerCase();
  return (!state.group || line.groups.includes(state.group))
    && (!words || `${line.name} ${line.title}`.toLowerCase().includes(words));
}

function initialState() {
  const [p, m] = data.headline.split("-").slice(1).map(Number);
  return { metric: m, protocol: p, scope: data.together ? -1 : 0, family: -1, group: "", find: "", sort: "clean", ascending: false, view: "", only: null, at: "" };
}

/** The address of the present view, with changes; defaults are left out. */
function address(changes = {}) {
  const now = { ...state, ...changes };
  const start = initialState();
  const query = new URLSearchParams();
  query.set("metric", data.metrics[now.metric].name);
  query.set("protocol", data.protocols[now.protocol].name);
  if (now.scope !== start.scope) query.set("scope", now.scope < 0 ? "*" : data.sets[now.scope].name);
  if (now.family !== -1) query.set("family", data.families[now.family].name);
  if (now.group) query.set("group", now.group);
  if (now.find) query.set("find", now.find);
  if (now.sort !== start.sort || now.ascending) query.set("sort", `${now.ascending ? "" : "-"}${now.sort}`);
  if (now.view) query.set("view", now.view);
  if (now.hidden.size) query.set("hidden", [...now.hidden].map((i) => data.lines[i].name).join("|"));
  if (now.only !== null) query.set("only", data.lines[now.only].name);
  for (const [set, sort] of now.table) query.append("order", `${data.sets[set].name}|${sort.ascending ? "" : "-"}${sort.column === "model" ? "model" : data.conditions[sort.column].spec}`);
  if (now.cell) {
    query.set("set", data.sets[now.cell.set].name);
    if (several) query.set("run", data.runs[data.lines[now.cell.line].run]);
    query.set("model", data.lines[now.cell.line].model);
    query.set("spec", data.conditions[now.cell.condition].spec);
    if (known(now.cell.image)) query.set("image", data.sets[now.cell.set].images[now.cell.image]);
  } else if (now.image) {
    query.set("set", data.sets[now.image.set].name);
    query.set("image", data.sets[now.image.set].images[now.image.image]);
  } else if (now.at) query.set("at", now.at);
  return `#${query}`;
}

/** Bring `state` to what the address says; what it does not say is as at the start, what it cannot mean is left out. */
function readAddress() {
  const query = new URLSearchParams(location.hash.slice(1));
  const start = initialState();
  Object.assign(state, start, { hidden: new Set(), table: new Map(), cell: null, image: null });
  const chosen = (list, key, name, missing) => { const i = indexOf(list, key, query.get(name)); return i < 0 ? missing : i; };
  state.protocol = chosen(data.protocols, "name", "protocol", start.protocol);
  state.metric = chosen(data.metrics, "name", "metric", start.metric);
  if (!offered(state.protocol).has(state.metric)) state.metric = Math.min(...offered(state.protocol));
  state.scope = query.get("scope") === "*" && data.together ? -1 : chosen(data.sets, "name", "scope", start.scope);
  state.family = chosen(data.families, "name", "family", -1);
  state.group = query.get("group") ?? "";
  state.find = query.get("find") ?? "";
  const sort = query.get("sort") ?? "-clean";
  [state.ascending, state.sort] = [!sort.startsWith("-"), sort.replace(/^-/, "")];
  state.view = ["curves", "heat", "single"].includes(query.get("view")) ? query.get("view") : "";
  const named = (name) => indexOf(data.lines, "name", name);
  state.hidden = new Set((query.get("hidden") ?? "").split("|").map(named).filter((i) => i >= 0));
  state.only = query.has("only") && named(query.get("only")) >= 0 ? named(query.get("only")) : null;
  for (const text of query.getAll("order")) {
    const [name, order] = [text.slice(0, text.indexOf("|")), text.slice(text.indexOf("|") + 1)];
    const [set, spec] = [indexOf(data.sets, "name", name), order.replace(/^-/, "")];
    const column = spec === "model" ? "model" : indexOf(data.conditions, "spec", spec);
    if (set >= 0 && column !== -1) state.table.set(set, { column, ascending: !order.startsWith("-") });
  }
  state.at = query.get("at") ?? (/^[\w-]+$/.test(location.hash.slice(1)) ? location.hash.slice(1) : "");
  const set = indexOf(data.sets, "name", query.get("set"));
  if (set < 0) return;
  const image = query.has("image") ? data.sets[set].images.indexOf(query.get("image")) : -1;
  const line = data.lines.findIndex((l) => l.model === query.get("model") && (!query.has("run") || data.runs[l.run] === query.get("run")));
  const condition = indexOf(data.conditions, "spec", query.get("spec"));
  if (line >= 0 && condition >= 0) state.cell = { set, line, condition, image: image < 0 ? null : image };
  else if (image >= 0) state.image = { set, image };
}

const go = (changes) => { location.hash = address(changes); };
const replace = (changes) => { history.replaceState(null, "", address(changes)); return update(); };
