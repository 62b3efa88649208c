// Pictures of one image: photo, ground truth, score map, prediction, and what can be laid over them.

const KIND_TITLES = { photo: "Photo", truth: "Ground truth", score: "Score map", prediction: "Prediction", confidence: "Confidence in the map", sources: "Regions by source" };

/** Why a picture is not there. */
function blank(kind, tampered, code) {
  if (code === 0) return data.single ? "not in this file (its budget of pictures)" : "not kept in this report";
  if (kind === "truth" && !tampered) return "authentic: nothing forged";
  if (kind === "prediction") return "no threshold with a meaning";
  return "not stored";
}

/** A picture with the mask's contour over it, or the place of one that is not there. */
function figure(kind, cell, options = {}) {
  const address = picture(kind, cell.code, cell.set, cell.image, cell.line, cell.condition);
  const truth = picture("truth", cell.code, cell.set, cell.image, cell.line, cell.condition);
  const title = kind === "prediction" && cell.oracle ? "Prediction at the best threshold (oracle)" : KIND_TITLES[kind];
  const name = data.sets[cell.set].images[cell.image];
  const layers = [];
  if (address && kind === "prediction" && truth) {
    layers.push(el("img", { src: address, class: "called", alt: `${title} of ${name}: orange false positives, blue missed, white true positives`, loading: "lazy", decoding: "async" }),
      el("img", { src: truth, class: "forged", alt: "", loading: "lazy", decoding: "async" }));
  } else if (address) {
    layers.push(el("img", { src: address, alt: `${title} of ${name}`, loading: "lazy", decoding: "async" }));
    if (truth && ["photo", "score"].includes(kind)) layers.push(el("img", { src: truth, class: "contour", alt: "", loading: "lazy", decoding: "async" }));
  } else layers.push(el("span", { class: "blank" }, blank(kind, cell.tampered, cell.code)));
  const stack = el("span", { class: `stack of-${kind}` }, layers);
  const body = options.onclick && address ? el("button", { type: "button", class: "enlarge", "aria-label": `Enlarge ${title} of ${name}`, onclick: options.onclick }, stack) : stack;
  return el("figure", {}, body, options.caption === false ? "" : el("figcaption", {}, title));
}

const mapScale = () => el("p", { class: "caption key" },
  "Score map: ", el("span", { class: "low" }, "unlikely "), el("span", { class: "ramp", "aria-hidden": "true" }), el("span", {}, " likely forged"), " (probabilities 0 to 1; other scores from their 1st to 99th percentile). ",
  el("span", { class: "chip tp" }), " true positive ", el("span", { class: "chip fp" }), " false positive ", el("span", { class: "chip fn" }), " missed ", el("span", { class: "chip contour-chip" }), " contour of the ground truth");
