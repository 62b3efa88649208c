// What stands behind a table cell: all its images, one of them enlarged.

const drill = byId("drill");
const drillBody = byId("drill-body");
const STATUS = ["scored", "failed", "not applicable", "not run"];
const PAGE = 24; // images that the gallery shows at a time
let galleryPage = 0;
let drillKey = "";
let returnTo = null; // what had the focus before the dialog opened

/** The images of a cell: those with a value best first, then those without. */
function imagesOf(stored, cell) {
  if (!stored) return { scored: [], lost: [], uncounted: [] };
  const values = stored.values[`${protocol().name}.${metric().name}`] ?? [];
  const all = stored.image.map((image, i) => ({
    ...cell, image, code: stored.pictures ? stored.pictures[i] : 0, tampered: data.sets[cell.set].tampered[image] === "1", oracle: stored.oracle[i] === "1",
    name: data.sets[cell.set].images[image], status: Number(stored.status[i]), value: values[i] ?? null, reason: stored.reason[i] ?? "", notes: stored.notes[i] ?? "",
    seconds: stored.seconds[i], psnr: stored.psnr[i], values: Object.fromEntries(Object.entries(stored.values).map(([key, column]) => [key, column[i]])),
  }));
  const scored = all.filter((one) => known(one.value)).sort((a, b) => comparing(a.value, b.value, -sign()));
  scored.forEach((one, i) => { one.place = i + 1; one.of = scored.length; });
  const other = all.filter((one) => !known(one.value));
  return { scored, lost: other.filter((one) => one.status !== 0), uncounted: other.filter((one) => one.status === 0) };
}

function facts(one) {
  const others = Object.entries(one.values).filter(([key, value]) => known(value) && key.startsWith(`${protocol().name}.`) && key !== `${protocol().name}.${metric().name}`)
    .map(([key, value]) => `${data.metrics[indexOf(data.metrics, "name", key.slice(protocol().name.length + 1))].title}\u00a0${fixed(value)}`);
  return [...others, known(one.seconds) ? `${one.seconds.toFixed(2)}\u00a0s` : "", known(one.psnr) ? `PSNR\u00a0${one.psnr.toFixed(1)}\u00a0dB` : "", one.notes].filter(Boolean);
}

const kindsOf = (one) => data.kinds.filter((kind, k) => k < 4 || (one.code >> (2 * k)) & 3);
const open = (one) => replace({ cell: { set: one.set, line: one.line, condition: one.condition, image: one.image } });

function card(one) {
  return el("li", { "data-image": one.name, "data-value": one.value },
    el("h4", {}, el("span", {}, one.place ? `${one.place}. ` : "", one.name), known(one.value) ? el("b", {}, `${metric().title} ${fixed(one.value)}`) : ""),
    el("div", { class: "thumbs" }, kindsOf(one).map((kind) => figure(kind, one, { onclick: () => open(one) }))),
    el("p", {}, facts(one).join(" · ")),
    el("button", { type: "button", class: "link", onclick: () => go({ cell: null, image: { set: one.set, image: one.image } }) }, "All localizers on this image"));
}

function stage(one, list) {
  const at = list.findIndex((other) => other.image === one.image);
  const step = (by, content, label) => el("button", { type: "button", "data-step": by, disabled: !list[at + by], "aria-label": label, onclick: () => open(list[at + by]) }, content);
  return el("section", { class: "stage", "aria-label": one.name },
    el("div", { class: "stage-head" },
      el("h3", {}, one.place ? `${one.place} of ${one.of}: ` : "", one.name, known(one.value) ? el("b", {}, ` ${metric().title} ${fixed(one.value)}`) : ""),
      el("div", { class: "buttons" }, step(-1, "↑ better", "Previous image"), step(1, "↓ worse", "Next image"), el("button", { type: "button", id: "stage-close", onclick: () => replace({ cell: { ...state.cell, image: null } }) }, "All images"))),
    el("div", { class: "large" }, kindsOf(one).map((kind) => figure(kind, one))),
    el("p", { class: "muted" }, facts(one).join(" · ")),
    one.reason ? el("p", { class: "bad" }, one.reason) : "",
    el("button", { type: "button", class: "link", onclick: () => go({ cell: null, image: { set: one.set, image: one.image } }) }, "All localizers on this image"));
}

function openDialog() {
  if (drill.open) {
    if (!drill.contains(document.activeElement) || document.activeElement === drill) byId("drill-close").focus({ preventScroll: true });
    return;
  }
  returnTo = document.activeElement;
  drill.showModal();
}

async function showCell({ set, line, condition, image }) {
  const stored = (await cellsOf(line, set))?.conditions[condition];
  const hidden = (await cellsOf(line, set))?.hidden ?? 0;
  const [who, where, row] = [data.lines[line], data.conditions[condition], find(set, line, condition)];
  const key = `${set}|${line}|${condition}|${state.metric}|${state.protocol}`;
  if (key !== drillKey) [drillKey, galleryPage] = [key, 0];
  const near = data.conditions.map((_, i) => i).filter((i) => find(set, line, i));
  const at = near.indexOf(condition);
  const move = (step, content) => el("button", { type: "button", "data-move": step, disabled: near[at + step] === undefined, title: `${step < 0 ? "Previous" : "Next"} condition`,
    "aria-label": `${step < 0 ? "Previous" : "Next"} condition`, onclick: () => replace({ cell: { set, line, condition: near[at + step], image } }) }, content);
  const found = imagesOf(stored, { set, line, condition });
  const list = [...found.scored, ...found.uncounted, ...found.lost];
  const chosen = known(image) ? list.find((one) => one.image === image) : null;
  const numbersLine = !row ? [el("p", {}, "No number under this metric and protocol.")] : [
    el("div", { class: "figures" }, el("span", {}, `${metric().title} `, el("b", {}, known(row.mean) ? fixed(row.mean) : missing(row)), known(row.mean) ? ` ${interval(row.low, row.high)}` : ""),
      el("span", {}, "n scored ", el("b", {}, row.n)), el("span", { class: row.n_failed ? "bad" : "" }, "n failed ", el("b", {}, row.n_failed)), el("span", {}, "n not applicable ", el("b", {}, row.n_not_applicable)), el("span", {}, "n skipped ", el("b", {}, row.n_skipped))),
    row.contaminated ? el("p", { class: "caption" }, "† Trained on images of this test set: the number tells little about new images.") : ""];
  drillBody.replaceChildren(
    el("div", { class: "drill-head" },
      el("div", {}, el("h2", { id: "drill-title" }, `${who.label}${dagger(set, line)} on ${where.identity ? "unperturbed images" : where.name}`),
        el("p", { class: "muted" }, `${who.title}; ${data.sets[set].title}${where.psnr === null ? "" : `; mean PSNR ${where.psnr.toFixed(1)} dB`}`)),
      el("div", { class: "buttons" }, move(-1, "←"), move(1, "→"), el("button", { type: "button", id: "drill-close", onclick: () => drill.close() }, "Close"))),
    ...(chosen ? [stage(chosen, list)] : [...numbersLine, el("p", { class: "caption" }, ...protocolNote()), ...gallery(found, hidden)]), list.some((one) => one.code) ? mapScale() : "");
  openDialog();
  if (!chosen) drill.scrollTop = 0;
  if (chosen) byId("stage-close").focus();
}

function gallery(found, hidden) {
  const { scored, lost, uncounted } = found;
  const parts = [];
  if (hidden) parts.push(el("p", { class: "caption" }, "This file carries the extremes of each cell alone; the run's results table and `python -m bench show RUN IMAGE` have the others."));
  if (scored.length) {
    const pages = Math.ceil(scored.length / PAGE);
    galleryPage = Math.min(galleryPage, pages - 1);
    const from = galleryPage * PAGE;
    const turn = (page, content) => el("button", { type: "button", disabled: page < 0 || page >= pages, onclick: () => { galleryPage = page; update(); } }, content);
    const merit = metric().ranked ? "best first" : "largest value first";
    parts.push(el("div", { class: "gallery-head" }, el("h3", {}, `All ${plural(scored.length, "scored image")}, ${merit}`),
      pages > 1 ? el("div", { class: "buttons" }, turn(0, "Best"), turn(galleryPage - 1, "‹"), el("span", {}, `${from + 1}–${Math.min(from + PAGE, scored.length)}`), turn(galleryPage + 1, "›"), turn(pages - 1, "Worst")) : ""),
      el("ol", { class: "gallery" }, scored.slice(from, from + PAGE).map(card)));
  } else parts.push(el("p", { class: "caption" }, "No image of this cell has a value of its own under this metric and protocol (a metric of the whole set, or not applicable)."));
  if (lost.length) {
    parts.push(el("h3", {}, `${plural(lost.length, "image")} without a score map`), el("ul", { class: "reasons" }, lost.slice(0, 200).map((one) =>
      el("li", {}, one.name, ": ", el("b", { class: one.status === 1 ? "bad" : "" }, STATUS[one.status]), one.reason ? `, ${one.reason}` : ""))));
  }
  if (uncounted.length) {
    const authentic = uncounted.filter((one) => !one.tampered).length;
    parts.push(el("h3", {}, `${plural(uncounted.length, "image")} localized but without a value here`), el("p", { class: "muted" }, `${authentic} authentic, ${uncounted.length - authentic} tampered.${uncounted.length > PAGE ? ` The first ${PAGE} are shown.` : ""}`),
      el("ul", { class: "gallery" }, uncounted.slice(0, PAGE).map(card)));
  }
  return parts;
}

drill.addEventListener("close", () => {
  if (state.cell || state.image) replace({ cell: null, image: null });
  if (returnTo?.isConnected) returnTo.focus();
  else if (returnTo?.dataset?.line) document.querySelector(`#${returnTo.closest?.("[id]")?.id ?? "results"} [data-line="${returnTo.dataset.line}"]`)?.focus();
  returnTo = null;
});
drill.addEventListener("click", (event) => { if (event.target === drill) drill.close(); });
drill.addEventListener("keydown", (event) => {
  const selector = { ArrowLeft: '[data-move="-1"]', ArrowRight: '[data-move="1"]', ArrowUp: '[data-step="-1"]', ArrowDown: '[data-step="1"]' }[event.key];
  const button = selector && drill.querySelector(selector);
  if (!button || event.target.matches("input, select")) return;
  event.preventDefault();
  button.click();
});
