"""The metrics that several protocols report."""

from __future__ import annotations

from bench.metrics.metric import Metric

_LAST_POINT = "AUC says how well pixels are ranked, not whether any threshold works on all images."

METRICS = (
    Metric("f1", "Pixel F1", "2TP / (2TP + FP + FN) of forged pixels at the protocol's threshold and polarity."),
    Metric("iou", "Pixel IoU", "TP / (TP + FP + FN) of forged pixels at the protocol's threshold."),
    Metric("precision", "Precision", "Share of the pixels called forged that are."),
    Metric("recall", "Recall", "Share of the forged pixels that are called forged."),
    Metric("mcc", "Pixel MCC", "Matthews' correlation of called and forged pixels.", low=-1.0),
    Metric(
        "accuracy",
        "Pixel accuracy",
        "Share of the pixels called rightly.",
        pitfall="An empty map on a small forgery has an accuracy near 1.",
    ),
    Metric(
        "auc", "Pixel AUC", "Area under the ROC curve over the pixels of an image; .5 is chance.", pitfall=_LAST_POINT
    ),
    Metric("ap", "Pixel AP", "Average precision over the pixels of an image; chance is the share of forged pixels."),
    Metric(
        "best_f1",
        "Best F1",
        "Largest pixel F1 over all thresholds of each image.",
        pitfall="The threshold is chosen with the ground truth of the image itself: no user can have this number.",
    ),
    Metric("best_iou", "Best IoU", "Pixel IoU at the threshold of the best F1 of each image."),
    Metric("macro_f1", "Macro F1", "Mean of the F1 of forged and the F1 of pristine pixels."),
    Metric("mean_iou", "Mean IoU", "Mean of the IoU of forged and the IoU of pristine pixels."),
    Metric("permuted_mean_iou", "Permuted mean IoU", "Larger of the mean IoU of the map and of the inverted map."),
    Metric("permuted_f1", "Permuted F1", "Larger of the F1 of the map and of the inverted map."),
    Metric("permuted_accuracy", "Permuted accuracy", "Larger of the accuracy of the map and of the inverted map."),
    Metric("image_auc", "Image AUC", "Area under the ROC curve of tampered against authentic images.", scope="set"),
    Metric("image_ap", "Image AP", "Average precision of tampered against authentic images.", scope="set"),
    Metric("image_f1", "Image F1", "F1 of images called tampered at the protocol's threshold.", scope="set"),
    Metric("image_accuracy", "Image accuracy", "Share of the images called rightly.", scope="set"),
    Metric("image_mcc", "Image MCC", "Matthews' correlation of called and tampered images.", scope="set", low=-1.0),
    Metric("image_tpr", "Image TPR", "Share of the tampered images called tampered.", scope="set"),
    Metric("image_tnr", "Image TNR", "Share of the authentic images called authentic.", scope="set"),
    Metric("image_precision", "Image precision", "Share of the images called tampered that are.", scope="set"),
    Metric("image_balanced_accuracy", "Image balanced accuracy", "Mean of image TPR and image TNR.", scope="set"),
    Metric(
        "pooled_auc",
        "Pooled AUC",
        "Area under the ROC curve over the pixels of all images.",
        scope="set",
        pitfall="Large images, and images whose scores lie higher than those of others, weigh more.",
    ),
    Metric("pooled_ap", "Pooled AP", "Average precision over the pixels of all images.", scope="set"),
    Metric("pooled_f1", "Pooled F1", "Pixel F1 of the counts of all images added up.", scope="set"),
    Metric("pooled_iou", "Pooled IoU", "Pixel IoU of the counts of all images added up.", scope="set"),
    Metric("pooled_mean_iou", "Pooled mean IoU", "Mean IoU of the counts of all images added up.", scope="set"),
    Metric("pooled_accuracy", "Pooled accuracy", "Pixel accuracy of the counts of all images added up.", scope="set"),
)
