// The records of the page, and those in files beside it, which are loaded when they are needed.

const data = JSON.parse(byId("data").textContent);
const several = data.runs.length > 1;
data.lines.forEach((line) => { line.name = several ? line.label : line.model; });
data.conditions.forEach((condition, index) => { condition.index = index; });
data.sets.forEach((set, index) => { set.index = index; });

const waiting = new Map(); // name of a data file -> function that takes its content
const loading = new Map(); // name of a data file -> promise of its content

globalThis.robustness = (name, content) => waiting.get(name)?.(content);

/** The content of a data file: of an element of this page, else of data/NAME.js beside it. */
function load(name) {
  if (!loading.has(name)) {
    loading.set(name, new Promise((resolve, reject) => {
      const inline = byId(`data-${name}`);
      if (inline) {
        resolve(JSON.parse(inline.textContent));
        return;
      }
      waiting.set(name, resolve);
      document.head.append(el("script", { src: `data/${name}.js`, onerror: () => reject(new Error(`data/${name}.js is missing`)) }));
    }));
  }
  return loading.get(name);
}

/** Columns of equal length -> records. */
function records(columns) {
  const names = Object.keys(columns);
  if (!names.length) return [];
  return columns[names[0]].map((_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
}

const numbersOf = (protocol, metric) => `numbers-${protocol}-${metric}`;

/** Summary, standings, contrasts and answers of a metric under a protocol, with an index of the summary. */
async function numbers(name) {
  const raw = await load(name);
  if (!raw.index) {
    raw.rows = records(raw.summary);
    raw.board = records(raw.standings);
    raw.changes = records(raw.contrasts);
    raw.index = new Map(raw.rows.map((row) => [`${row.test_set}|${row.line}|${row.spec}`, row]));
  }
  return raw;
}

/** The drill-down of a line on a test set; null where the run stored none. */
async function cellsOf(line, set) {
  if (data.single && !byId(`data-cells-${line}-${set}`)) return null;
  return load(`cells-${line}-${set}`).catch(() => null);
}

let embedded = null;

/** Address of a picture of a cell, null where there is none. `code` holds two bits of data.suffixes for each kind. */
function picture(kind, code, set, image, line, condition) {
  const suffix = data.suffixes[(code >> (2 * data.kinds.indexOf(kind))) & 3];
  if (!suffix) return null;
  const stem = { photo: `c${condition}`, truth: "truth" }[kind] ?? `l${line}c${condition}-${kind}`;
  const name = `${set}/${image}/${stem}.${suffix}`;
  if (!data.single) return `pictures/${name}`;
  embedded ??= JSON.parse(byId("pictures").textContent);
  return embedded[name] ?? null;
}
