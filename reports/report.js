"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("data");
  let thumbnails = null; // parsed at the first drill-down: it may hold many megabytes

  // ------------------------------------------------------------------------------------------------ small helpers

  const SVG = "http://www.w3.org/2000/svg";
  const fill = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
    return node;
  };
  const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
  const fixed = (value, digits = 3) => (value === null ? "–" : value.toFixed(digits).replace("-", "−").replace(/^(−?)0\./, "$1."));
  const fixedTick = (value, digits) => value.toFixed(digits).replace("-", "−");
  const span = (row) => (row.low === null ? "no interval" : `[${fixed(row.low)}, ${fixed(row.high)}]`);
  const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
  const byName = (list, name) => list.findIndex((item) => item.name === name);

  // ------------------------------------------------------------------------------------------------ the numbers

  const FIELDS = ["line", "set", "condition", "protocol", "metric", "mean", "low", "high", "n", "failed", "absent", "skipped", "rank", "contaminated"];
  const rows = data.summary.map((values) => Object.fromEntries(FIELDS.map((field, i) => [field, values[i]])));
  const index = new Map(rows.map((row) => [[row.set, row.line, row.condition, row.protocol, row.metric].join("|"), row]));
  const find = (set, line, condition) => index.get([set, line, condition, state.protocol, state.metric].join("|"));
  const dagger = (set, line) => (flagged.has(`${set}|${line}`) ? "†" : "");
  const flagged = new Set(rows.filter((row) => row.contaminated).map((row) => `${row.set}|${row.line}`));
  const several = data.runs.length > 1;

  const state = { metric: data.headline[0], protocol: data.headline[1], hidden: new Set(), sort: new Map() };
  const metric = () => data.metrics[state.metric];
  const protocol = () => data.protocols[state.protocol];

  /** What is shown of a test set under the chosen metric and protocol: rows, lines, conditions, families. */
  function block(set) {
    const shown = rows.filter((r) => r.set === set && r.metric === state.metric && r.protocol === state.protocol);
    const lines = data.lines.filter((line) => shown.some((r) => r.line === line.index));
    const used = new Set(shown.map((r) => r.condition));
    const conditions = data.conditions.map((c, i) => ({ ...c, index: i })).filter((c) => used.has(c.index));
    const identity = conditions.filter((c) => c.family === "identity");
    const families = new Map();
    for (const c of conditions) {
      if (c.family === "identity") continue;
      if (!families.has(c.family)) families.set(c.family, [...identity]);
      families.get(c.family).push(c);
    }
    return { set, shown, lines, conditions, identity, families };
  }

  /** "n = 24" or "n = 22 to 24": how many images stand behind the means of a block. */
  function counts(b) {
    const n = b.shown.filter((r) => r.n > 0).map((r) => r.n);
    if (!n.length) return "no image scored";
    const [least, most] = [Math.min(...n), Math.max(...n)];
    return least === most ? `n = ${least}` : `n = ${least} to ${most}`;
  }

  function protocolNote() {
    const p = protocol();
    return [el("b", {}, `Protocol “${p.name}”, version ${p.version}`), p.description ? `: ${p.description}` : "."];
  }

  // ------------------------------------------------------------------------------------------------ curves

  const MARKS = [
    (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
    (r) => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
    (r) => `M0 ${-1.25 * r}L${1.2 * r} ${r}H${-1.2 * r}z`,
    (r) => `M0 ${-1.35 * r}L${1.35 * r} 0L0 ${1.35 * r}L${-1.35 * r} 0z`,
    (r) => `M0 ${1.25 * r}L${1.2 * r} ${-r}H${-1.2 * r}z`,
    (r) => { const a = 0.45 * r, b = 1.25 * r; return `M${-a} ${-b}H${a}V${-a}H${b}V${a}H${a}V${b}H${-a}V${a}H${-b}V${-a}H${-a}z`; },
    (r) => `M${-r} ${-r}H${r}L${-r} ${r}H${r}z`,
  ];
  const DASHES = ["", "7 3", "2 2.5", "8 3 2 3", "12 4"];
  const colour = (line) => `var(--c${line.style % data.colours})`;
  const dash = (line) => DASHES[(several ? line.run : line.style) % DASHES.length];
  const mark = (line, hollow, x = 0, y = 0) =>
    svg("path", { class: `mark${hollow ? " hollow" : ""}`, d: MARKS[line.style % MARKS.length](3.1), transform: `translate(${x} ${y})` });

  function swatch(line, hollow) {
    return svg("svg", { width: 30, height: 12, viewBox: "0 0 30 12", "aria-hidden": "true", style: `color:${colour(line)};flex:none` },
      svg("g", { class: "curve" }, svg("path", { class: "path", d: "M1 6H29", "stroke-dasharray": dash(line) }), mark(line, hollow, 15, 6)));
  }

  /** Limits and ticks of the shared vertical axis. */
  function scale(b) {
    const values = b.shown.filter((r) => r.mean !== null && !state.hidden.has(r.line)).flatMap((r) => [r.mean, r.low ?? r.mean, r.high ?? r.mean]);
    let [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
    if (high - low < 0.1) [low, high] = [low - 0.05, high + 0.05];
    const step = [0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 50].find((s) => (high - low) / s <= 6) ?? (high - low) / 5;
    const ticks = [];
    for (let i = Math.floor(low / step + 1e-9); i <= Math.ceil(high / step - 1e-9); i += 1) ticks.push(Number((i * step).toFixed(6)));
    return { ticks, low: ticks[0], high: ticks.at(-1) };
  }

  function drawCurves(b, host) {
    const rank = metric().ranked ? "" : " This is a setting of the methods, not a merit: it is not ranked.";
    const daggers = b.lines.some((line) => dagger(b.set, line.index));
    const unperturbed = !b.families.size;
    const caption = el("p", { class: "caption" }, el("b", {}, metric().title), metric().whole ? `, one value of the whole set, without interval (${counts(b)}). ` : `, mean over images (${counts(b)}); bands: 95 % bootstrap interval. `,
      ...protocolNote(), unperturbed ? "" : " Leftmost: the unperturbed images; then from the mildest to the severest level, with the mean PSNR measured.", rank,
      daggers ? " † and hollow markers: the model was trained on images of this test set." : "");
    const panels = el("div", { class: "panels" });
    host.replaceChildren(caption, legend(b, host), panels);
    const axis = scale(b);
    const families = unperturbed ? new Map([["unperturbed", b.identity]]) : b.families;
    for (const [name, conditions] of families) panels.append(panel(b, name, conditions, axis, panels));
  }

  function legend(b, host) {
    const item = (line) => {
      const scored = b.shown.some((r) => r.line === line.index && r.mean !== null);
      const hollow = dagger(b.set, line.index) !== "";
      return el("li", {}, el("button", {
        type: "button", "aria-pressed": String(!state.hidden.has(line.index)), title: `${line.title}: click to hide or show`,
        onclick: () => { state.hidden.has(line.index) ? state.hidden.delete(line.index) : state.hidden.add(line.index); redraw(); },
        onmouseenter: () => heat(host, line.index), onmouseleave: () => heat(host, null),
        onfocus: () => heat(host, line.index), onblur: () => heat(host, null), "data-line": line.index,
      }, scored ? swatch(line, hollow) : "", line.label + (hollow ? "†" : ""), scored ? "" : el("small", {}, "n/a")));
    };
    return el("ul", { class: "legend", "aria-label": "Localizers" }, b.lines.map(item));
  }

  /** Bring one line forward in the figures of a test set; null: none. */
  function heat(host, line) {
    for (const curve of host.querySelectorAll(".panel .curve")) {
      curve.classList.toggle("cold", line !== null && Number(curve.dataset.line) !== line);
      curve.classList.toggle("hot", line !== null && Number(curve.dataset.line) === line);
    }
  }

  function panel(b, name, conditions, axis, host) {
    const width = Math.max(240, Math.min(420, Math.floor((host.clientWidth + 16) / Math.max(1, Math.floor((host.clientWidth + 16) / 286))) - 16));
    const height = 240, left = 38, right = 14, top = 8, bottom = 36;
    const lines = b.lines.filter((line) => !state.hidden.has(line.index));
    const alone = conditions.length === 1;
    const slots = alone ? lines.length : conditions.length;
    const x = (i) => left + 14 + (slots === 1 ? (width - left - right - 28) / 2 : (i * (width - left - right - 28)) / (slots - 1));
    const y = (value) => top + ((axis.high - value) / (axis.high - axis.low)) * (height - top - bottom);
    const digits = axis.ticks.some((t) => Math.abs(t * 10 - Math.round(t * 10)) > 1e-6) ? 2 : 1;
    const frame = axis.ticks.map((t) => [
      svg("line", { class: "grid", x1: left, x2: width - right, y1: y(t), y2: y(t) }),
      svg("text", { x: left - 6, y: y(t) + 3.5, "text-anchor": "end" }, fixedTick(t, digits)),
    ]);
    const place = (i, text) => (i === conditions.length - 1 && text.length > 5 ? { x: width - 1, "text-anchor": "end" } : { x: x(i), "text-anchor": "middle" });
    const labels = alone ? [] : conditions.map((c, i) => [
      svg("text", { ...place(i, c.level), y: height - bottom + 15 }, c.family === "identity" ? "clean" : c.level || c.family),
      c.psnr === null ? "" : svg("text", { class: "psnr", x: x(i), y: height - bottom + 28, "text-anchor": "middle" }, `${c.psnr.toFixed(0)}${i === 1 || i === conditions.length - 1 ? " dB" : ""}`),
    ]);
    const chance = /auc$/.test(metric().name) && axis.low <= 0.5 && axis.high >= 0.5
      ? [svg("line", { class: "chance", x1: left, x2: width - right, y1: y(0.5), y2: y(0.5) })] : [];
    const cursor = svg("line", { class: "cursor", y1: top, y2: height - bottom });
    const curves = lines.map((line, order) => curve(b, line, conditions, (i) => (alone ? x(order) : x(i)), y, alone));
    const picture = svg("svg", {
      viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img",
      "aria-label": `${metric().title} of ${plural(lines.length, "localizer")} against ${name}. Arrow keys read the values; the table below holds them all.`,
    }, frame, labels, chance, svg("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }), cursor, curves);
    const view = { b, picture, cursor, conditions, lines, x, y, alone, host: host.parentElement, width, height };
    watch(view);
    return el("figure", { class: "panel", "data-family": name }, el("figcaption", {}, name), picture);
  }

  function curve(b, line, conditions, x, y, alone) {
    const hollow = dagger(b.set, line.index) !== "";
    const points = conditions.map((c, i) => ({ x: x(i), row: find(b.set, line.index, c.index) })).map((p) => (p.row && p.row.mean !== null ? p : null));
    const stretches = [[]];
    for (const p of points) p ? stretches.at(-1).push(p) : stretches.push([]);
    const parts = [];
    for (const stretch of stretches.filter((s) => s.length)) {
      const banded = stretch.filter((p) => p.row.low !== null);
      if (banded.length > 1) {
        const edge = [...banded.map((p) => `${p.x} ${y(p.row.high)}`), ...banded.reverse().map((p) => `${p.x} ${y(p.row.low)}`)];
        parts.push(svg("path", { class: "band", d: `M${edge.join("L")}Z` }));
      } else if (banded.length === 1 && (alone || stretch.length === 1)) {
        parts.push(svg("path", { class: "whisker", "stroke-dasharray": dash(line), d: `M${banded[0].x} ${y(banded[0].row.low)}V${y(banded[0].row.high)}` }));
      }
      if (stretch.length > 1) parts.push(svg("path", { class: "path", "stroke-dasharray": dash(line), d: `M${stretch.map((p) => `${p.x} ${y(p.row.mean)}`).join("L")}` }));
      parts.push(...stretch.map((p) => mark(line, hollow, p.x, y(p.row.mean))));
    }
    return svg("g", { class: "curve", "data-line": line.index, style: `color:${colour(line)}` }, parts);
  }

  const tip = document.getElementById("tip");

  /** Pointer and keys over a panel: values of all lines at the nearest level; a click opens the nearest line's images. */
  function watch(view) {
    const { picture, cursor, conditions, lines, x, y, alone, b } = view;
    let level = 0;
    const local = (event) => {
      const box = picture.getBoundingClientRect();
      return [((event.clientX - box.left) * view.width) / box.width, ((event.clientY - box.top) * view.height) / box.height];
    };
    const nearest = (px, py) => {
      const slots = alone ? lines.length : conditions.length;
      let slot = 0;
      for (let i = 1; i < slots; i += 1) if (Math.abs(x(i) - px) < Math.abs(x(slot) - px)) slot = i;
      if (alone) return { level: 0, slot, line: lines[slot] };
      const scored = lines.filter((line) => find(b.set, line.index, conditions[slot].index)?.mean != null);
      const distance = (line) => Math.abs(y(find(b.set, line.index, conditions[slot].index).mean) - py);
      return { level: slot, slot, line: scored.sort((p, q) => distance(p) - distance(q))[0] };
    };
    const show = (at, line, left, top) => {
      cursor.setAttribute("x1", x(at.slot));
      cursor.setAttribute("x2", x(at.slot));
      cursor.style.visibility = "visible";
      heat(view.host, line ? line.index : null);
      tooltip(b, conditions[at.level], lines, line, left, top);
    };
    const hide = () => { cursor.style.visibility = "hidden"; tip.hidden = true; heat(view.host, null); };
    picture.addEventListener("pointermove", (event) => {
      const at = nearest(...local(event));
      show(at, at.line, event.clientX, event.clientY);
    });
    picture.addEventListener("pointerleave", hide);
    picture.addEventListener("blur", hide);
    picture.addEventListener("click", (event) => {
      const at = nearest(...local(event));
      if (at.line && event.pointerType !== "touch") openCell(b.set, at.line.index, conditions[at.level].index);
    });
    picture.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      event.preventDefault();
      level = Math.max(0, Math.min(conditions.length - 1, level + (event.key === "ArrowRight" ? 1 : -1)));
      const box = picture.getBoundingClientRect();
      show({ level, slot: level }, null, box.left + (x(level) * box.width) / view.width, box.top + 20);
    });
  }

  function tooltip(b, condition, lines, hot, left, top) {
    const found = lines.map((line) => ({ line, row: find(b.set, line.index, condition.index) })).filter((f) => f.row);
    found.sort((p, q) => (q.row.mean ?? -Infinity) - (p.row.mean ?? -Infinity));
    tip.replaceChildren(
      el("p", {}, el("b", {}, condition.name), el("span", { class: "muted" }, ` ${metric().title}, ${protocol().name} v${protocol().version}`)),
      el("table", {}, found.slice(0, 16).map(({ line, row }) => el("tr", { class: hot && line.index === hot.index ? "hot" : "" },
        el("td", {}, swatch(line, row.contaminated)), el("td", {}, line.label + (row.contaminated ? "†" : "")),
        el("td", {}, row.mean === null ? missing(row) : fixed(row.mean)), el("td", {}, row.mean === null ? "" : span(row)), el("td", {}, row.mean === null ? "" : `n ${row.n}`)))),
      found.length > 16 ? el("p", { class: "muted" }, `and ${found.length - 16} more in the table`) : "");
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const side = left + 18 + box.width > innerWidth ? left - 18 - box.width : left + 18;
    tip.style.left = `${Math.max(4, Math.min(side, innerWidth - box.width - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(top + 14, innerHeight - box.height - 4))}px`;
  }

  // ------------------------------------------------------------------------------------------------ tables

  const missing = (row) => (row.absent > 0 || row.failed === 0 ? "n/a" : "failed");

  function drawTable(b, host) {
    const means = b.shown.filter((r) => r.mean !== null).map((r) => r.mean);
    const [low, high] = [Math.min(...means), Math.max(...means)];
    const warmth = (row) => (metric().ranked && high > low ? (row.mean - low) / (high - low) : 0);
    const sort = state.sort.get(b.set) ?? { column: null, direction: "descending" };
    const lines = sorted(b, sort);
    const heads = [["identity", b.identity], ...[...b.families].map(([name, list]) => [name, list.filter((c) => c.family !== "identity")])].filter(([, list]) => list.length);
    const order = heads.flatMap(([, list]) => list);
    const head = (column, text, label) => el("th", { scope: "col", class: column === "model" ? "model" : first(column), "aria-sort": sort.column === column ? sort.direction : null },
      el("button", { type: "button", title: `Sort by ${label}`, onclick: () => { resort(b, column, sort); } }, text));
    const starts = new Set(heads.map(([, list]) => list[0].index));
    const first = (column) => (starts.has(column) ? "first" : "");
    const table = el("table", { class: "means" },
      el("thead", {},
        el("tr", {}, el("th", { class: "model" }, ""), heads.map(([name, list]) => el("th", { scope: "colgroup", colspan: list.length, class: "first" }, name === "identity" ? "unperturbed" : name))),
        el("tr", {}, head("model", "Localizer", "name"), order.map((c) => head(c.index, c.family === "identity" ? "clean" : c.level || c.name, c.name)))),
      el("tbody", {}, lines.map((line) => el("tr", { "data-line": line.index },
        el("th", { scope: "row", class: "model", title: line.title }, several ? el("small", {}, data.runs[line.run]) : "", line.model + dagger(b.set, line.index)),
        order.map((c) => cell(b, line, c, warmth, first(c.index)))))));
    roam(table);
    const daggers = b.lines.some((line) => dagger(b.set, line.index));
    const ranked = metric().ranked;
    host.replaceChildren(
      el("p", { class: "caption" }, el("b", {}, metric().title), metric().whole ? " of the whole set, without interval, number of images n" : ": mean over images, 95 % bootstrap interval, number of images n",
        ranked ? ` and rank (#) under each condition${several ? ", within its run" : ""}; the best in bold. ` : ". ", ...protocolNote(), " Click a cell to see its images.",
        daggers ? " † trained on images of this test set." : "", b.shown.some((r) => r.mean === null) ? " n/a: not applicable." : "",
        ranked && high > low ? [` Shade: ${fixed(low, 2)} `, el("span", { class: "scale" }), ` ${fixed(high, 2)}.`] : ""),
      el("div", { class: "scroll" }, table));
  }

  function sorted(b, sort) {
    const sign = sort.direction === "descending" ? -1 : 1;
    if (sort.column === null) return b.lines;
    if (sort.column === "model") return [...b.lines].sort((p, q) => -sign * p.label.localeCompare(q.label));
    const value = (line) => find(b.set, line.index, sort.column)?.mean ?? null;
    return [...b.lines].sort((p, q) => {
      const [u, v] = [value(p), value(q)];
      if (u === null || v === null) return (u === null) - (v === null); // without a number: always last
      return sign * (u - v);
    });
  }

  function resort(b, column, sort) {
    const direction = sort.column === column && sort.direction === "descending" ? "ascending" : "descending";
    state.sort.set(b.set, { column, direction });
    const host = document.querySelector(`[data-set="${b.set}"] .table`);
    const scrolled = host.querySelector(".scroll").scrollLeft;
    drawTable(b, host);
    host.querySelector(".scroll").scrollLeft = scrolled;
    host.querySelector("th[aria-sort] button").focus({ preventScroll: true });
  }

  function cell(b, line, condition, warmth, edge) {
    const row = find(b.set, line.index, condition.index);
    if (!row) return el("td", { class: edge }, el("span", { class: "none", title: "not part of this run" }, "–"));
    const notes = [row.failed ? el("small", { class: "bad" }, `${row.failed} failed`) : "",
      row.absent && row.mean !== null ? el("small", {}, `${row.absent} n/a`) : "", row.skipped ? el("small", {}, `${row.skipped} skipped`) : ""];
    const empty = row.mean === null;
    const best = !empty && metric().ranked && row.rank === bestRank(b, line.run, condition.index);
    const content = empty ? [el("b", { class: "na" }, missing(row)), ...notes]
      : [el("b", {}, fixed(row.mean)), el("small", {}, span(row)), el("small", {}, `n ${row.n}${metric().ranked && row.rank !== null ? ` · #${row.rank}` : ""}`), ...notes];
    return el("td", { class: edge }, el("button", {
      type: "button", class: best ? "best" : "", tabindex: -1, "data-line": line.index, "data-condition": condition.index,
      style: empty ? "" : `--warmth:${warmth(row).toFixed(3)}`,
      "aria-label": `${line.label}, ${condition.name}: ${empty ? missing(row) : `${fixed(row.mean)} ${span(row)}, n ${row.n}${row.rank === null ? "" : `, rank ${row.rank}`}`}. Show images`,
      onclick: () => openCell(b.set, line.index, condition.index),
    }, content));
  }

  /** The smallest rank under a condition in a run (not always 1: ties share their mean rank). */
  const bestRank = (b, run, condition) => Math.min(...b.shown.filter((r) => r.condition === condition && data.lines[r.line].run === run && r.rank !== null).map((r) => r.rank));

  /** One tab stop a table; arrow keys move between its cells. */
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

  // ------------------------------------------------------------------------------------------------ drill-down

  const drill = document.getElementById("drill");
  const body = document.getElementById("drill-body");
  const STATUS = ["scored", "failed", "not applicable", "not run"];

  function cellHash(set, line, condition) {
    const { run, model } = data.lines[line];
    const query = new URLSearchParams(viewQuery());
    query.set("set", data.sets[set].name);
    if (several) query.set("run", data.runs[run]);
    query.set("model", model);
    query.set("spec", data.conditions[condition].spec);
    return `#${query}`;
  }
  const viewQuery = () => ({ metric: metric().name, protocol: protocol().name });
  const openCell = (set, line, condition) => { location.hash = cellHash(set, line, condition); };

  function showCell(set, line, condition) {
    const [who, where] = [data.lines[line], data.conditions[condition]];
    const row = find(set, line, condition);
    const near = data.conditions.map((c, i) => i).filter((i) => find(set, line, i));
    const at = near.indexOf(condition);
    const move = (step, text) => el("button", { type: "button", disabled: near[at + step] === undefined, title: `${step < 0 ? "Previous" : "Next"} condition`,
      onclick: () => { history.replaceState(null, "", cellHash(set, line, near[at + step])); route(); } }, text);
    const numbers = !row ? [el("p", {}, "No number under this metric and protocol.")] : [
      el("div", { class: "figures" }, el("span", {}, `${metric().title} `, el("b", {}, row.mean === null ? missing(row) : fixed(row.mean)), row.mean === null ? "" : ` ${span(row)}`),
        el("span", {}, `n scored `, el("b", {}, row.n)), metric().ranked && row.rank !== null ? el("span", {}, "rank ", el("b", {}, `#${row.rank}`)) : "",
        el("span", { class: row.failed ? "bad" : "" }, "n failed ", el("b", {}, row.failed)), el("span", {}, "n not applicable ", el("b", {}, row.absent)), el("span", {}, "n skipped ", el("b", {}, row.skipped))),
      row.contaminated ? el("p", { class: "caption" }, "† The model was trained on images of this test set: the number tells little about new images.") : "",
    ];
    body.replaceChildren(
      el("div", { class: "drill-head" },
        el("div", {}, el("h2", { id: "drill-title" }, `${who.label}${dagger(set, line)} on ${where.family === "identity" ? "unperturbed images" : where.name}`),
          el("p", { class: "muted" }, `${who.title}; ${data.sets[set].title}${where.psnr === null ? "" : `; mean PSNR ${where.psnr.toFixed(1)} dB`}`)),
        el("div", { class: "buttons" }, move(-1, "←"), move(1, "→"), el("button", { type: "button", id: "drill-close", onclick: () => drill.close() }, "Close"))),
      ...numbers, el("p", { class: "caption" }, ...protocolNote()), ...gallery(`${line}|${set}|${condition}`));
    if (!drill.open) drill.showModal();
    drill.scrollTop = 0;
  }

  function gallery(name) {
    const images = data.cells[name];
    if (!images) return [el("p", {}, "No image of this cell is stored.")];
    const values = images.values[`${state.protocol}|${state.metric}`] ?? [];
    const all = images.image.map((_, i) => i);
    const scored = all.filter((i) => (values[i] ?? null) !== null).sort((p, q) => values[q] - values[p]);
    const other = all.filter((i) => (values[i] ?? null) === null);
    const list = (positions, worst) => el("ol", { class: "gallery" }, positions.map((i) => card(images, i, values[i], scored.indexOf(i) + 1, scored.length, worst)));
    const merit = metric().ranked;
    const parts = [];
    if (images.hidden) parts.push(el("p", { class: "caption" }, `This page carries the extremes alone: ${plural(images.hidden, "further image")} of this cell are in the run's results table.`));
    if (scored.length > 2 * data.pictured) {
      const left = scored.length - 2 * data.pictured;
      parts.push(el("h3", {}, `${merit ? "Best" : "Largest"} ${data.pictured} of ${scored.length} images`), list(scored.slice(0, data.pictured), false),
        el("p", { class: "muted" }, `${plural(left, "image")} between them not shown.`),
        el("h3", {}, `${merit ? "Worst" : "Smallest"} ${data.pictured} of ${scored.length} images, ${merit ? "worst" : "smallest"} first`), list(scored.slice(-data.pictured).reverse(), true));
    } else if (scored.length) {
      parts.push(el("h3", {}, merit ? `All ${plural(scored.length, "scored image")}, best first` : `All ${plural(scored.length, "image")}, largest value first`), list(scored, false));
    } else {
      parts.push(el("p", { class: "caption" }, "No image of this cell has a value of its own under this metric and protocol (a metric of the whole set, or not applicable)."));
    }
    const lost = other.filter((i) => images.status[i] !== 0);
    if (lost.length) {
      parts.push(el("h3", {}, `${plural(lost.length, "image")} without a score map`), el("ul", { class: "reasons" }, lost.map((i) =>
        el("li", {}, data.images[images.image[i]], ": ", el("b", { class: images.status[i] === 1 ? "bad" : "" }, STATUS[images.status[i]]), images.reason[i] ? `, ${images.reason[i]}` : ""))));
    }
    const uncounted = other.filter((i) => images.status[i] === 0);
    if (uncounted.length) {
      const pick = uncounted.slice(0, scored.length ? 4 : 12);
      const authentic = uncounted.filter((i) => !images.tampered[i]).length;
      parts.push(el("h3", {}, `${plural(uncounted.length, "image")} localized but without a value here`),
        el("p", { class: "muted" }, `${authentic} authentic, ${uncounted.length - authentic} tampered. ${pick.length < uncounted.length ? `The first ${pick.length} are shown.` : ""}`),
        el("ul", { class: "gallery" }, pick.map((i) => card(images, i, null, 0, 0, false))));
    }
    return parts;
  }

  function card(images, i, value, place, of, worst) {
    thumbnails ??= read("thumbnails");
    const name = data.images[images.image[i]];
    const pictures = images.pictures[i];
    const kinds = ["Photo", "Ground truth", "Score map", "Prediction", "Confidence in the map", "Regions by source"];
    const blank = (kind) => (pictures === undefined ? "not embedded (size of this file)" : kind === 1 && !images.tampered[i] ? "authentic: nothing forged" : kind === 3 ? "no threshold with a meaning" : "not stored");
    const figure = (kind) => el("figure", {}, pictures && pictures[kind] >= 0
      ? el("img", { src: thumbnails[pictures[kind]], alt: `${kinds[kind]} of ${name}`, loading: "lazy", decoding: "async" })
      : el("span", { class: "blank" }, blank(kind)), el("figcaption", {}, kind === 3 && images.oracle[i] ? "Prediction at the best threshold (oracle)" : kinds[kind]));
    const others = Object.entries(images.values).map(([key, column]) => [key.split("|").map(Number), column[i]])
      .filter(([[p, m], v]) => p === state.protocol && m !== state.metric && v !== null)
      .map(([[, m], v]) => `${data.metrics[m].title}\u00a0${fixed(v)}`);
    const facts = [...others, images.seconds[i] === null ? "" : `${images.seconds[i].toFixed(2)}\u00a0s`, images.psnr[i] === null ? "" : `PSNR\u00a0${images.psnr[i].toFixed(1)}\u00a0dB`, images.notes[i]].filter((f) => f);
    return el("li", { "data-image": name, "data-value": value },
      el("h4", {}, el("span", {}, place ? `${worst ? of - place + 1 : place}. ` : "", name), value === null ? "" : el("b", {}, `${metric().title} ${fixed(value)}`)),
      el("div", { class: "thumbs" }, kinds.map((_, kind) => kind).filter((kind) => kind < 4 || (pictures && pictures[kind] >= 0)).map(figure)), el("p", {}, facts.join(" · ")));
  }

  drill.addEventListener("close", () => {
    if (new URLSearchParams(location.hash.slice(1)).has("spec")) history.replaceState(null, "", `#${new URLSearchParams(viewQuery())}`);
  });
  drill.addEventListener("click", (event) => { if (event.target === drill) drill.close(); });
  drill.addEventListener("keydown", (event) => {
    const button = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
    if (button !== undefined) drill.querySelectorAll(".buttons button")[button].click();
  });

  // ------------------------------------------------------------------------------------------------ state and start

  const [metricSelect, protocolSelect] = ["metric", "protocol"].map((id) => document.getElementById(id));

  function redraw() {
    metricSelect.value = String(state.metric);
    protocolSelect.value = String(state.protocol);
    const metrics = offered(state.protocol);
    for (const option of metricSelect.options) option.disabled = !metrics.has(Number(option.value));
    const m = metric();
    document.getElementById("definition").replaceChildren(...(m.description ? [el("b", {}, m.title), `: ${m.description}`] : []));
    for (const section of document.querySelectorAll(".test-set")) {
      const b = block(Number(section.dataset.set));
      const [curves, table] = [section.querySelector(".curves"), section.querySelector(".table")];
      const scored = b.shown.some((r) => r.mean !== null);
      if (!b.shown.length) {
        curves.replaceChildren(el("p", { class: "empty" }, `No ${m.title} under protocol “${protocol().name}” on this test set. Choose another metric or protocol.`));
        table.replaceChildren();
        continue;
      }
      if (scored) drawCurves(b, curves);
      else curves.replaceChildren(el("p", { class: "empty" }, "No image has a value here; the table says why."));
      drawTable(b, table);
    }
  }

  /** Bring the page to what the address says: #metric=...&protocol=...[&set=...&model=...&spec=...&run=...] */
  function route() {
    const query = new URLSearchParams(location.hash.slice(1));
    const wanted = { metric: byName(data.metrics, query.get("metric")), protocol: byName(data.protocols, query.get("protocol")) };
    const changed = Object.entries(wanted).filter(([key, value]) => value >= 0 && value !== state[key]);
    for (const [key, value] of changed) state[key] = value;
    if (changed.length) redraw();
    const set = byName(data.sets, query.get("set"));
    const line = data.lines.findIndex((l) => l.model === query.get("model") && (!query.has("run") || data.runs[l.run] === query.get("run")));
    const condition = data.conditions.findIndex((c) => c.spec === query.get("spec"));
    if (set >= 0 && line >= 0 && condition >= 0) showCell(set, line, condition);
    else if (drill.open && !query.has("spec")) drill.close();
  }

  /** Numbers of the metrics that a protocol has. */
  const offered = (chosen) => new Set(rows.filter((r) => r.protocol === chosen).map((r) => r.metric));

  function choose(key, value) {
    state[key] = value;
    const metrics = offered(state.protocol);
    if (!metrics.has(state.metric)) state.metric = Math.min(...metrics);
    history.replaceState(null, "", `#${new URLSearchParams(viewQuery())}`);
    redraw();
  }

  if (!data.metrics.length || !data.protocols.length) {
    document.querySelector(".controls").replaceWith(el("p", { class: "empty" }, "This run holds no numbers."));
    return;
  }
  metricSelect.append(...data.metrics.map((m, i) => el("option", { value: i }, m.title)));
  protocolSelect.append(...data.protocols.map((p, i) => el("option", { value: i }, `${p.name} v${p.version}${p.title ? `: ${p.title}` : ""}`)));
  metricSelect.addEventListener("change", () => choose("metric", Number(metricSelect.value)));
  protocolSelect.addEventListener("change", () => choose("protocol", Number(protocolSelect.value)));
  document.getElementById("bands").addEventListener("change", (event) => document.body.classList.toggle("no-bands", !event.target.checked));
  addEventListener("hashchange", route);
  let width = document.body.clientWidth;
  new ResizeObserver(() => {
    if (Math.abs(document.body.clientWidth - width) < 8) return;
    width = document.body.clientWidth;
    redraw();
  }).observe(document.body);
  redraw();
  route();
})();
