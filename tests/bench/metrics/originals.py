"""What each protocol's original computes of one image, written plainly with NumPy, SciPy, scikit-learn and Pillow.

Nothing is shared with `bench.metrics`: sorts, confusion matrices and filters are those of other libraries or loops.
Each function takes a map of probabilities (H, W) float32 and a mask uint8, and gives some of our names; None where the
original does not score the pair.
"""

import math
import warnings
from itertools import permutations

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter
from sklearn import metrics as sk


def counts(called, truth):
    called, truth = np.asarray(called, bool), np.asarray(truth, bool)
    tp, fp = int((called & truth).sum()), int((called & ~truth).sum())
    return tp, fp, int((~called & truth).sum()), int((~called & ~truth).sum())


def auc(truth, score):
    truth = np.asarray(truth, bool).ravel()
    return sk.roc_auc_score(truth, np.ravel(score)) if 0 < truth.sum() < truth.size else math.nan


def logits(p):
    clipped = np.clip(p.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.log(clipped / (1 - clipped)).astype(np.float32)


def macro(truth, called):
    return sk.f1_score(truth.ravel(), called.ravel(), average="macro")


def mpc(p, g):
    called, truth = cv2.resize(p * np.float32(255), g.shape[::-1]) > 127, g > 127
    tp, fp, fn, _ = counts(called, truth)
    f1 = sk.f1_score(truth.ravel(), called.ravel(), zero_division=0)
    return {"f1": f1, "iou": tp / (tp + fp + fn + 1e-6) if tp + fp + fn else 1.0}


def mvss(p, g):
    eight = cv2.resize((p * np.float32(255)).astype(np.uint8), g.shape[::-1])
    tp, fp, fn, _ = counts(eight / 255.0 > 0.5, g > 0)
    return {"f1": 2 * tp / (2 * tp + fp + fn + 1e-6) if tp + fp + fn else 1.0, "image_score": eight.max() / 255.0}


def catnet(p, g):
    tp, fp, fn, tn = counts(cv2.resize(logits(p), g.shape[::-1]) > 0, g > 0)
    mean = (tp / max(1, tp + fp + fn) + tn / max(1, tn + fp + fn)) / 2
    other = (fn / max(1, fn + tp + tn) + fp / max(1, fp + tp + tn)) / 2
    return {"mean_iou": mean, "permuted_mean_iou": max(mean, other), "accuracy": (tp + tn) / g.size}


def validation(p, g):
    logit = cv2.resize(logits(p), g.shape[::-1])
    tp, fp, fn, tn = counts(logit > 0, g > 0)
    f1, other = 2 * tp / max(1, 2 * tp + fn + fp), 2 * fn / max(1, 2 * tp + fn + tn)
    smooth = max((2 * tp + 1) / (2 * tp + fn + fp + 1), (2 * fn + 1) / (2 * tp + fn + tn + 1))
    error = np.mean((1 / (1 + np.exp(-logit.astype(np.float64))) - (g > 0)) ** 2)
    return {"permuted_f1": max(f1, other), "permuted_f1_smooth": smooth, "mse": error}


def inner(truth):
    gt1 = minimum_filter(truth, 15)
    return gt1, gt1 | ~maximum_filter(truth, 11)


def best_permuted(p, truth, scored):
    values, truth = p[scored], truth[scored]
    if len(np.unique(truth)) == 1:  # scikit-learn's curves need both classes
        found = [counts(values > v, truth) for v in np.unique(values)]
    else:
        fpr, tpr, _ = sk.roc_curve(truth, values, drop_intermediate=False)  # the last point calls all forged
        n, m = truth.sum(), (~truth).sum()
        found = [(t * n, f * m, n - t * n, m - f * m) for f, t in zip(fpr[:-1], tpr[:-1], strict=True)]
    both = [(2 * tp / max(2 * tp + fp + fn, 1e-32), 2 * fn / max(2 * fn + tp + tn, 1e-32)) for tp, fp, fn, tn in found]
    return max(map(max, both))


def permuted(p, truth, scored):
    tp, fp, fn, tn = counts(p[scored] > 0.5, truth[scored])
    return max(2 * tp / max(2 * tp + fp + fn, 1e-32), 2 * fn / max(2 * fn + tp + tn, 1e-32))


def trufor(p, g):
    if p.shape != g.shape:
        return None
    truth = g > 0
    _, scored = inner(truth)
    if not scored.any():
        return {"f1": math.nan, "best_f1": math.nan}
    f1 = permuted(p, truth, scored)
    one = len(np.unique(np.concatenate([truth[scored], (p > 0.5)[scored]]))) == 1
    return {"f1": math.nan if one else f1, "best_f1": best_permuted(p, truth, scored)}


def safire(p, g):
    truth = cv2.resize(g, p.shape[::-1], interpolation=cv2.INTER_NEAREST) > 127
    _, scored = inner(truth)
    tp, fp, fn, tn = counts(p >= 0.5, truth)
    found = {
        "permuted_f1": max(2 * tp / max(1, 2 * tp + fn + fp), 2 * fn / max(1, 2 * fn + tp + tn)),
        "permuted_accuracy": max(tp + tn, fp + fn) / p.size,
        "auc": auc(truth, p),
        "ap": sk.average_precision_score(truth.ravel(), p.ravel()) if truth.any() else math.nan,
    }
    if not scored.any():
        return found | {"f1": math.nan, "best_f1": math.nan}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found["absolute_mcc"] = abs(sk.matthews_corrcoef(truth[scored], p[scored] > 0.5))
    return found | {"f1": permuted(p, truth, scored), "best_f1": best_permuted(p, truth, scored)}


def ifosn(p, g):
    eight = np.rint(p * np.float32(255)).astype(np.uint8)
    if g.shape != p.shape:
        g = np.where(cv2.resize(g, p.shape[::-1]) > 127, 255, 0).astype(np.uint8)
    tp, fp, fn, _ = (3 * n for n in counts(eight > 127, g > 0))
    iou = tp / (tp + fp + fn + 1e-6) if tp + fp + fn else 1.0
    return {"f1": 2 * tp / (2 * tp + fp + fn + 1e-6), "iou": iou, "auc": auc(g == 255, eight)}


def focal(p, g, side=64):
    mask = cv2.resize(np.where(g > 127, 255, 0).astype(np.uint8), (side, side)) > 127
    called = cv2.resize(p * np.float32(255), (side, side)) > 127
    union = int((mask | called).sum())
    return {"macro_f1": macro(mask, called), "iou": int((mask & called).sum()) / (union + 1e-6) if union else 1.0}


def f1_of_rates(tp, fp, fn, tiny=1e-8):
    precision, recall = tp / (tp + fp + tiny), tp / (tp + fn + tiny)
    return 2 * precision * recall / (precision + recall + tiny)


def imdlbenco(p, g):
    truth = cv2.resize(g, p.shape[::-1], interpolation=cv2.INTER_NEAREST) > 127
    tp, fp, fn, tn = counts(p > 0.5, truth)
    back = counts(np.float32(1) - p > 0.5, truth)
    f1, other = f1_of_rates(tp, fp, fn), f1_of_rates(fn, tn, tp)
    iou, other_iou = tp / (tp + fp + fn + 1e-8), back[0] / (sum(back[:3]) + 1e-8)
    area = auc(truth, p) if truth.any() else 0.0
    reverse = auc(truth, np.float32(1) - p) if truth.any() else 0.0
    right = (tp + tn) / p.size
    found = {"f1": f1, "reverse_f1": other, "double_f1": max(f1, other), "iou": iou, "reverse_iou": other_iou}
    return found | {"auc": area, "reverse_auc": reverse, "double_auc": max(area, reverse), "accuracy": right}


def imlvit(p, g):
    if p.shape != g.shape:
        return None
    tp, fp, fn, _ = counts(p[:1024, :1024] > 0.5, g[:1024, :1024] > 127)
    return {"f1": f1_of_rates(tp, fp, fn)}


def hifi(p, g):
    truth = np.asarray(Image.fromarray(g).resize((256, 256), Image.BICUBIC)) > 127.5
    score = cv2.resize(p, (256, 256))
    called = score > 0.5
    area = auc(truth, score)
    return {
        "macro_f1": max(macro(truth, called), macro(truth, np.zeros_like(called))),
        "auc": area if area > 0.5 else 1 - area,
    }


def photoholmes(p, g):
    if p.shape != g.shape:
        return None
    truth = g > 0
    p = p.astype(np.float64)
    points = [counts(p >= t, truth) for t in np.linspace(0, 1, 100).astype(np.float32)][::-1]
    tpr = [tp / max(1, tp + fn) for tp, _, fn, _ in points]
    fpr = [fp / max(1, fp + tn) for _, fp, _, tn in points]
    area = np.trapezoid(tpr, fpr) if 0 < truth.sum() < truth.size else 0.0
    tp, fp, fn = (p * truth).sum(), (p * ~truth).sum(), ((1 - p) * truth).sum()
    hard = counts(p > 0.5, truth)
    return {
        "auc": area,
        "soft_f1": 2 * tp / (2 * tp + fp + fn) if 2 * tp + fp + fn else 0.0,
        "soft_iou": tp / (tp + fp + fn) if tp + fp + fn else 0.0,
        "f1": 2 * hard[0] / (2 * hard[0] + hard[1] + hard[2]) if sum(hard[:3]) else 0.0,
    }


def nist(p, g):
    if p.shape != g.shape or not (g == 255).any():
        return None
    box = {size: np.ones((size, size), np.uint8) for size in (11, 15)}
    white = np.where(g == 255, 0, 255).astype(np.uint8)  # black where forged
    boundary = cv2.dilate(white, box[15]) == cv2.erode(white, box[11])
    other = ((g != 255) & (g != 0)).astype(np.uint8)
    kept = cv2.erode((g == 255).astype(np.uint8), box[15]) > 0
    weight = boundary & ((cv2.dilate(other, box[15]) == 0) | kept)
    system = 255 - np.rint(255 * p.astype(np.float64)).astype(int)
    truth, values = (g == 255)[weight], system[weight]
    if not truth.size:
        return {"optimum_mcc": math.nan, "actual_mcc": math.nan, "gwl1": math.nan}
    best, points = (-math.inf, 0), [(0.0, 0.0)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for t in [-1, *np.unique(system)]:
            tp, fp, fn, tn = counts(values <= t, truth)
            spread = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
            best = max(best, ((tp * tn - fp * fn) / spread if spread else 0.0, -t))
            points.append((fp / (fp + tn), tp / (tp + fn)) if fp + tn and tp + fn else (0.0, 0.0))
        actual = sk.matthews_corrcoef(truth, values <= 127)
    tp, fp, fn, _ = counts(values <= 127, truth)
    points.sort()
    return {
        "optimum_mcc": best[0],
        "optimum_threshold": -best[1],
        "actual_mcc": actual,
        "actual_nmm": max(-1, (tp - fn - fp) / truth.sum()) if truth.any() else math.nan,
        "actual_bwl1": (fp + fn) / truth.size,
        "auc": np.trapezoid([y for _, y in points], [x for x, _ in points]),
        "gwl1": np.abs(np.where(truth, 0, 255) - values).mean() / 255,
    }


def forensichub(p, g):
    return {"max_score": 1 / (1 + math.exp(-float(logits(p).max())))}


def partition(maps, labels):
    """SAFIRE's mean IoU over all permutations, and the adjusted Rand index."""
    predicted, n = np.argmax(maps, axis=0), int(labels.max()) + 1
    channels = len(maps)
    if channels > n:
        order = sorted(np.unique(predicted), key=lambda c: -(predicted == c).sum())[:n]
        names = range(n)
    else:
        order, names = list(range(channels)), range(channels)
    found = 0.0
    for assigned in permutations(names):
        ious = np.zeros(n)
        for channel, label in zip(order, assigned, strict=False):
            union = ((predicted == channel) | (labels == label)).sum()
            ious[label] = ((predicted == channel) & (labels == label)).sum() / union if union else 0.0
        found = max(found, ious.mean())
    return {"partition_mean_iou": found, "partition_ari": sk.adjusted_rand_score(labels.ravel(), predicted.ravel())}


ORIGINALS = {
    "mpc": mpc,
    "mvss": mvss,
    "catnet": catnet,
    "trufor": trufor,
    "trufor-validation": validation,
    "ifosn": ifosn,
    "focal": focal,
    "focal-hrnet": lambda p, g: focal(p, g, 256),
    "imdlbenco": imdlbenco,
    "imlvit": imlvit,
    "photoholmes": photoholmes,
    "hifi": hifi,
    "safire": safire,
    "nist-maskscorer": nist,
    "forensichub": forensichub,
}
