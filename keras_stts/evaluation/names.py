"""Names of benchmarks, methods and results as readers of figures know them."""

from keras_stts.evaluation.results import pruned

BENCHMARKS = {
    "nextqa": "NExT-QA",
    "perception_test": "PerceptionTest",
    "mvbench": "MVBench",
    "tomato": "TOMATO",
    "motionbench": "MotionBench",
    "tempcompass": "TempCompass",
    "video_mme": "Video-MME",
    "video_mme_subtitles": "Video-MME with subtitles",
    "longvideobench": "LongVideoBench",
    "longvideobench_subtitles": "LongVideoBench with subtitles",
    "mlvu": "MLVU",
    "lvbench": "LVBench",
    "video_eval_pro": "VideoEvalPro",
    "egoschema": "EgoSchema",
    "video_mme_v2": "Video-MME-v2",
    "video_mme_v2_subtitles": "Video-MME-v2 with subtitles",
    "minerva": "MINERVA",
    "tvbench": "TVBench",
    "vsi_bench": "VSI-Bench",
}
METHODS = {
    "stts": "STTS",
    "random": "random choice",
    "frame_similarity": "frame similarity",
    "evs": "EVS",
    "vidcom2": "VidCom2",
    "tome": "ToMe",
}


def benchmark(result):
    """The published name of a result's benchmark."""
    return BENCHMARKS.get(result["benchmark"], result["benchmark"])


def variant(result):
    """What sets a result apart: its `"label"`, or its pruning in words."""
    if result.get("label"):
        return result["label"]
    if result.get("language_pruning"):
        return pruned(result)  # With two methods.
    method = result.get("pruning") or "stts"
    if not result["prune_ratio"]:
        return "unpruned"
    if not isinstance(method, str):
        method = method["class_name"]
    verb = "merged" if method.lower() == "tome" else "pruned"
    method = METHODS.get(method.lower(), method)
    return f"{result['prune_ratio']:.0%} {verb} by {method}"


def legend(result, results, *, frames=True):
    """A result in a legend, with its benchmark if there are several."""
    name = variant(result)
    if frames and not result.get("label"):
        name = f"{result['num_frames']} frames, {name}"
    several = len({other["benchmark"] for other in results}) > 1
    return f"{benchmark(result)}: {name}" if several else name


def title(results, words, several):
    """A title: words and the benchmark, or other words of several ones."""
    found = {benchmark(result) for result in results}
    return f"{words} {found.pop()}" if len(found) == 1 else several
