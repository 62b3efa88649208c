// Curves of one test set: a panel per family, or per localizer.

const MARKS = [
  (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  (r) => `M${-r} ${-r}H${r}V${r}H${-r}z`,
  (r) => `M0 ${-1.25 * r}L${1.2 * r} ${r}H${-1.2 * r}z`,
  (r) => `M0 ${-1.35 * r}L${1.35 * r} 0L0 ${1.35 * r}L${-1.35 * r} 0z`,
  (r) => `M0 ${1.25 * r}L${1.2 * r} ${-r}H${-1.2 * r}z`,
  (r) => { const [a, b] = [0.45 * r, 1.25 * r]; return `M${-a} ${-b}H${a}V${-a}H${b}V${a}H${a}V${b}H${-a}V${a}H${-b}V${-a}H${-a}z`; },
  (r) => `M${-r} ${-r}H${r}L${-r} ${r}H${r}z`,
];
const DASHES = ["", "7 3", "2 2.5", "8 3 2 3", "12 4"];
const BANDS = 6; // lines up to which intervals are drawn as bands
const HIGHLIGHTED = 5; // lines that keep their colour above that
const dash = (line) => DASHES[(several ? line.run : line.style) % DASHES.length];
const mark = (line, hollow, x = 0, y = 0) => svg("path", { class: `mark${hollow ? " hollow" : ""}`, d: MARKS[line.style % MARKS.length](3.1), transform: `translate(${x} ${y})` });

/** The rows of a test set under the chosen metric, its lines and its families of conditions. */
function blockOf(set) {
  const rows = shown.rows.filter((row) => row.test_set === set);
  const lines = data.lines.filter((line) => rows.some((row) => row.line === line.index));
  const specs = new Set(rows.map((row) => row.spec));
  const identity = data.conditions.filter((c) => c.identity && specs.has(c.index));
  const families = new Map();
  for (const condition of data.conditions) {
    if (condition.identity || !specs.has(condition.index)) continue;
    if (!families.has(condition.family)) families.set(condition.family, [...identity]);
    families.get(condition.family).push(condition);
  }
  const visible = lines.filter((line) => passes(line) && !state.hidden.has(line.index) && (state.only === null || state.only === line.index));
  return { set, rows, lines, visible, identity, families, shown: rows.filter((row) => visible.some((line) => line.index === row.line)) };
}

const dagger = (set, line) => (shown.rows.some((row) => row.test_set === set && row.line === line && row.contaminated) ? "†" : "");
const missing = (row) => (row.n_not_applicable > 0 || !row.n_failed ? "n/a" : "failed");

/** Which lines keep their colour: all where they are few, else those with the best means of their own. */
function coloured(block) {
  if (block.visible.length <= BANDS) return new Set(block.visible.map((line) => line.index));
  const mean = (line) => {
    const values = block.rows.filter((row) => row.line === line.index && known(row.mean)).map((row) => row.mean);
    return values.length ? values.reduce((a, b) => a + b, 0) / values.length : null;
  };
  const best = [...block.visible].sort((a, b) => comparing(mean(a), mean(b), -sign()));
  return new Set(best.slice(0, HIGHLIGHTED).map((line) => line.index));
}

const colour = (line, bright) => (bright.has(line.index) ? `var(--c${line.style % data.colours})` : "var(--grey)");

function swatch(line, hollow, bright) {
  return svg("svg", { width: 30, height: 12, viewBox: "0 0 30 12", "aria-hidden": "true", style: `color:${colour(line, bright)};flex:none` },
    svg("g", { class: "curve" }, svg("path", { class: "path", d: "M1 6H29", "stroke-dasharray": dash(line) }), mark(line, hollow, 15, 6)));
}

function rangeOf(block) {
  const values = block.shown.filter((r) => known(r.mean)).flatMap((r) => [r.mean, r.low ?? r.mean, r.high ?? r.mean]);
  return values.length ? niceAxis(Math.min(...values), Math.max(...values), 6) : niceAxis(0, 1, 6);
}

function counts(block) {
  const n = block.rows.map((row) => row.n).filter((count) => count > 0);
  if (!n.length) return "no image scored";
  const [low, high] = [Math.min(...n), Math.max(...n)];
  return `n = ${low === high ? low : `${low} to ${high}`} ${high === 1 ? "image" : "images"}`;
}

const protocolNote = () => [` Protocol “${protocol().name}”, version ${protocol().version}: `, protocol().description];

function drawCurves(block, host) {
  const bright = coloured(block);
  const daggers = block.lines.some((line) => dagger(block.set, line.index));
  const banded = block.visible.length <= BANDS;
  const caption = el("p", { class: "caption" }, el("b", {}, metric().title),
    metric().whole ? `, one value of the whole set, without interval (${counts(block)}). ` : `, mean over images (${counts(block)})${banded ? "; bands: 95 % bootstrap interval" : `; ${plural(block.visible.length, "localizer")}: the best ${HIGHLIGHTED} in colour, intervals on pointing`}. `,
    block.families.size ? "Leftmost: the unperturbed images; then from the mildest to the severest level, with the mean PSNR measured." : "",
    metric().ranked ? "" : " This is a setting of the methods, not a merit: it is not ranked.",
    daggers ? " † and hollow markers: trained on images of this test set." : "");
  const panels = el("div", { class: "panels" });
  host.replaceChildren(caption, legend(block, host, bright), panels);
  const axis = rangeOf(block);
  const families = block.families.size ? block.families : new Map([["unperturbed", block.identity]]);
  for (const [name, conditions] of families) panels.append(panel({ block, name, conditions, axis, panels, bright, banded, lines: block.visible, labels: !banded }));
}

/** Small multiples: a panel per localizer with all families, the others grey behind it. */
function drawSingles(block, host) {
  const axis = rangeOf(block);
  const panels = el("div", { class: "panels" });
  host.replaceChildren(el("p", { class: "caption" }, el("b", {}, metric().title), ` of each localizer at every level, from the mildest to the severest of each family (${counts(block)}); the others grey. `, ...protocolNote()), panels);
  const conditions = [...block.identity, ...[...block.families.values()].flat().filter((c) => !c.identity)];
  for (const line of block.visible) {
    panels.append(panel({ block, name: line.name + dagger(block.set, line.index), conditions, axis, panels, bright: new Set([line.index]), banded: false, lines: [...block.visible.filter((l) => l !== line), line], labels: false, own: line.index, crowded: true }));
  }
}

function legend(block, host, bright) {
  const item = (line) => {
    const scored = block.rows.some((r) => r.line === line.index && known(r.mean));
    const hollow = dagger(block.set, line.index) !== "";
    const pressed = block.visible.includes(line);
    const click = () => replace(block.lines.length > BANDS ? { only: state.only === line.index ? null : line.index } : { hidden: toggled(line.index) });
    return el("li", {}, el("button", {
      type: "button", "aria-pressed": String(pressed), title: `${line.title}: click to ${block.lines.length > BANDS ? "isolate" : "hide or show"}`, onclick: click, "data-line": line.index,
      onmouseenter: () => heat(host, line.index), onmouseleave: () => heat(host, null), onfocus: () => heat(host, line.index), onblur: () => heat(host, null),
    }, scored ? swatch(line, hollow, bright) : "", line.name + (hollow ? "†" : ""), scored ? "" : el("small", {}, "n/a")));
  };
  return el("ul", { class: "legend", "aria-label": "Localizers" }, block.lines.filter(passes).map(item));
}

function toggled(line) {
  const hidden = new Set(state.hidden);
  if (!hidden.delete(line)) hidden.add(line);
  return hidden;
}

/** Bring one line forward in the figures of a test set; null: none. */
function heat(host, line) {
  for (const one of host.querySelectorAll(".panel .curve")) {
    one.classList.toggle("cold", line !== null && Number(one.dataset.line) !== line);
    one.classList.toggle("hot", line !== null && Number(one.dataset.line) === line);
  }
}

function panel(plan) {
  const { block, name, conditions, axis, panels, lines } = plan;
  const perRow = Math.max(1, Math.floor((panels.clientWidth + 16) / 286));
  const width = Math.max(240, Math.min(420, Math.floor((panels.clientWidth + 16) / perRow) - 16));
  const [height, left, right, top, bottom] = [252, 42, plan.labels ? 64 : 14, 8, 50];
  const alone = conditions.length === 1;
  const slots = alone ? lines.length : conditions.length;
  const inner = width - left - right - 28;
  const x = (i) => left + 14 + (slots === 1 ? inner / 2 : (i * inner) / (slots - 1));
  const y = (value) => top + ((axis.high - value) / (axis.high - axis.low)) * (height - top - bottom);
  const digits = axis.ticks.some((t) => Math.abs(t * 10 - Math.round(t * 10)) > 1e-6) ? 2 : 1;
  const frame = axis.ticks.map((t) => [
    svg("line", { class: "grid", x1: left, x2: width - right, y1: y(t), y2: y(t) }),
    svg("text", { x: left - 6, y: y(t) + 3.5, "text-anchor": "end" }, t.toFixed(digits).replace("-", "−")),
  ]);
  const family = data.families.find((f) => f.name === name);
  const titles = [svg("text", { class: "title", transform: `translate(10 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, metric().title)];
  if (family) {
    const half = 2.8 * family.axis.length; // of the text in pixels, about: it is below the axis where it fits, else within the picture
    const middle = Math.min(Math.max((left + width - right) / 2, half), Math.max(width / 2, width - half));
    titles.push(svg("text", { class: "title", x: middle, y: height - 4, "text-anchor": "middle" }, family.axis));
  }
  const chance = known(metric().chance) && axis.low <= metric().chance && axis.high >= metric().chance
    ? [svg("line", { class: "chance", x1: left, x2: width - right, y1: y(metric().chance), y2: y(metric().chance) })] : [];
  const cursor = svg("line", { class: "cursor", y1: top, y2: height - bottom });
  const at = (order) => (i) => (alone ? x(order) : x(i));
  const curves = [...lines.keys()].map((order) => curve(plan, lines[order], at(order), y, alone));
  curves.sort((a, b) => Number(plan.bright.has(Number(a.dataset.line))) - Number(plan.bright.has(Number(b.dataset.line))));
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img",
    "aria-label": `${metric().title} of ${plural(lines.length, "localizer")}, ${name}. Arrow keys read the values; the table below holds them all.`,
  }, frame, chance, svg("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }), alone ? [] : levelLabels(plan, x, height - bottom), titles, cursor, curves, plan.labels ? endLabels(plan, x, y, width - right) : []);
  watch({ block, picture, cursor, conditions, lines, x, y, alone, host: panels.parentElement, width, height, own: plan.own });
  return el("figure", { class: "panel", "data-family": name }, el("figcaption", {}, name), picture);
}

function levelLabels(plan, x, base) {
  if (plan.crowded) {
    const starts = plan.conditions.map((c, i) => ({ c, i })).filter(({ c, i }) => !c.identity && (i === 0 || plan.conditions[i - 1].family !== c.family));
    return starts.map(({ c, i }, k) => [svg("line", { class: "grid", x1: x(i), x2: x(i), y1: 8, y2: base }), svg("text", { class: "psnr", x: x(i), y: base + 14 + 12 * (k % 2) }, c.family)]);
  }
  return plan.conditions.map((c, i) => {
    const last = i === plan.conditions.length - 1;
    const place = last && c.level.length > 5 ? { x: x(i) + 13, "text-anchor": "end" } : { x: x(i), "text-anchor": "middle" };
    return [svg("text", { ...place, y: base + 15 }, c.identity ? "none" : c.level || c.family),
      c.psnr === null ? "" : svg("text", { class: "psnr", x: x(i), y: base + 27, "text-anchor": "middle" }, `${c.psnr.toFixed(0)}${i === 1 || last ? " dB" : ""}`)];
  });
}

/** The names of the coloured lines at their right end, kept apart. */
function endLabels(plan, x, y, from) {
  const last = plan.conditions.length - 1;
  const ends = plan.lines.filter((line) => plan.bright.has(line.index)).map((line) => ({ line, row: find(plan.block.set, line.index, plan.conditions[last].index) }))
    .filter((end) => known(end.row?.mean)).map((end) => ({ ...end, y: y(end.row.mean) })).sort((a, b) => a.y - b.y);
  for (let i = 1; i < ends.length; i += 1) ends[i].y = Math.max(ends[i].y, ends[i - 1].y + 11);
  return ends.map((end) => svg("text", { class: "end", x: from - 8, y: end.y + 3, style: `fill:${colour(end.line, plan.bright)}` }, end.line.name.length > 12 ? `${end.line.name.slice(0, 11)}…` : end.line.name));
}

function curve(plan, line, x, y, alone) {
  const { block, conditions, bright } = plan;
  const hollow = dagger(block.set, line.index) !== "";
  const points = conditions.map((c, i) => ({ x: x(i), row: find(block.set, line.index, c.index) })).map((p) => (known(p.row?.mean) ? p : null));
  const stretches = [[]];
  points.forEach((p, i) => {
    const breaks = plan.crowded && i > 1 && conditions[i].family !== conditions[i - 1].family;
    if (breaks) stretches.push([]);
    if (p) stretches.at(-1).push(p);
    else stretches.push([]);
  });
  const parts = [];
  for (const stretch of stretches.filter((s) => s.length)) {
    const banded = stretch.filter((p) => known(p.row.low) && p.row.n > 1);
    if (banded.length > 1 && !plan.crowded) {
      const edge = [...banded.map((p) => `${p.x} ${y(p.row.high)}`), ...banded.reverse().map((p) => `${p.x} ${y(p.row.low)}`)];
      parts.push(svg("path", { class: plan.banded ? "band" : "band quiet", d: `M${edge.join("L")}Z` }));
    } else if (banded.length === 1 && (alone || stretch.length === 1)) {
      parts.push(svg("path", { class: "whisker", "stroke-dasharray": dash(line), d: `M${banded[0].x} ${y(banded[0].row.low)}V${y(banded[0].row.high)}` }));
    }
    if (stretch.length > 1) parts.push(svg("path", { class: "path", "stroke-dasharray": dash(line), d: `M${stretch.map((p) => `${p.x} ${y(p.row.mean)}`).join("L")}` }));
    if (bright.has(line.index)) parts.push(...stretch.map((p) => mark(line, hollow, p.x, y(p.row.mean))));
  }
  return svg("g", { class: "curve", "data-line": line.index, style: `color:${colour(line, bright)}` }, parts);
}

const tip = byId("tip");

/** Pointer and keys over a panel: values of all lines at the nearest level; a click opens the nearest line's images. */
function watch(view) {
  const { picture, cursor, conditions, lines, x, y, alone, block } = view;
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
    const scored = lines.filter((line) => known(find(block.set, line.index, conditions[slot].index)?.mean));
    const distance = (line) => Math.abs(y(find(block.set, line.index, conditions[slot].index).mean) - py);
    return { level: slot, slot, line: scored.sort((p, q) => distance(p) - distance(q))[0] };
  };
  const show = (at, line, left, top) => {
    cursor.setAttribute("x1", x(at.slot));
    cursor.setAttribute("x2", x(at.slot));
    cursor.style.visibility = "visible";
    heat(view.host, line ? line.index : null);
    tooltip(block, conditions[at.level], lines, line, left, top);
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
    if (at.line && event.pointerType !== "touch") go({ cell: { set: block.set, line: at.line.index, condition: conditions[at.level].index, image: null } });
  });
  picture.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    level = Math.max(0, Math.min(conditions.length - 1, level + (event.key === "ArrowRight" ? 1 : -1)));
    const box = picture.getBoundingClientRect();
    show({ level, slot: level }, null, box.left + (x(level) * box.width) / view.width, box.top + 20);
  });
}

function tooltip(block, condition, lines, hot, left, top) {
  const all = new Set(data.lines.map((line) => line.index));
  const found = lines.map((line) => ({ line, row: find(block.set, line.index, condition.index) })).filter((f) => f.row);
  found.sort((p, q) => comparing(p.row.mean, q.row.mean, -sign()));
  const row = ({ line, row: r }) => el("tr", { class: hot && line.index === hot.index ? "hot" : "" },
    el("td", {}, swatch(line, r.contaminated, all)), el("td", {}, line.name + (r.contaminated ? "†" : "")),
    el("td", {}, known(r.mean) ? fixed(r.mean) : missing(r)), el("td", {}, interval(r.low, r.high)), el("td", {}, known(r.mean) ? `n ${r.n}` : ""));
  tip.replaceChildren(
    el("p", {}, el("b", {}, condition.name), el("span", { class: "muted" }, ` ${metric().title}, ${protocol().name} v${protocol().version}`)),
    el("table", {}, el("tbody", {}, found.slice(0, 16).map(row))),
    found.length > 16 ? el("p", { class: "muted" }, `and ${found.length - 16} more in the table`) : "");
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const side = left + 18 + box.width > innerWidth ? left - 18 - box.width : left + 18;
  tip.style.left = `${Math.max(4, Math.min(side, innerWidth - box.width - 4))}px`;
  tip.style.top = `${Math.max(4, Math.min(top + 14, innerHeight - box.height - 4))}px`;
}
