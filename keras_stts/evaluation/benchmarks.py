"""The published benchmarks: their files, prompts and parsers.

Prompts and parsers are those of the evaluation code of STTS' and Molmo2's
authors; for TempCompass those of lmms-eval; for the four benchmarks of
`reasoning_videos` those that it names.
"""

import functools

from keras_stts.data.manifest import read_manifest
from keras_stts.data.paths import as_path
from keras_stts.evaluation import figures
from keras_stts.evaluation import long_videos
from keras_stts.evaluation import reasoning_videos
from keras_stts.evaluation import short_videos
from keras_stts.evaluation.manifests import from_manifest
from keras_stts.evaluation.questions import Benchmark

__all__ = ["BENCHMARKS", "get_benchmark"]

QUESTION = "{question}\n{options}\n"
ONLY_LETTER = (
    QUESTION + "Please respond with only the letter of the correct answer."
)
DIRECTLY = (
    QUESTION
    + "Answer with the option's letter from the given choices directly."
)
VIDEO_MME = (
    "Select the best answer to the following multiple-choice question based "
    "on the video{and_subtitles}. Respond with only the letter (A, B, C, or "
    "D) of the correct option.\n" + QUESTION + "The best answer is:"
)
# What the authors' two texts of a message are, here with a line between them.
VIDEO_MME_V2 = (
    "These are the frames of a video.{spoken}\nQuestion: {question}\n"
    "{options}\nSelect the best answer to the following multiple-choice "
    "question based on the video. Respond with only the letter (A, B, C, D, "
    "E, F, G, or H) of the correct option."
)
# The authors begin the answer with "Best option:(", which chats do not allow.
TVBENCH = (
    "Carefully watch the video and pay attention to the cause and sequence of "
    "events, the detail and movement of objects, and the action and pose of "
    "persons. Based on your observations, select the best option that "
    "accurately addresses the question.\nQuestion: {question}\nOptions:\n"
    "{options}\nOnly give the best option."
)
VSI_BENCH = "These are frames of a video.\n{question}\n{request}"
TOMATO = "{question}\nOnly return the correct answer option.\n{options}"


def _shapes(folder):
    for row in read_manifest(folder / "test.jsonl"):
        yield {
            "id": row["id"],
            "video": row["video"],
            "question": row["prompt"],
            "answer": row["response"],
            "categories": {"kind": row["kind"]},
        }


_authors = functools.partial(Benchmark, sampling="uniform_last_frame")
_short = functools.partial(_authors, group="short")
_long = functools.partial(_authors, group="long")
_video_mme_spoken = functools.partial(
    long_videos.video_mme, with_subtitles=True
)
_long_video_bench_spoken = functools.partial(
    long_videos.long_video_bench, with_subtitles=True
)
_video_mme_v2 = functools.partial(
    _authors,
    prompt=VIDEO_MME_V2,
    parse="first of A-H",
    max_new_tokens=64,
    size=3200,
    unparsed="dropped",
    figures=figures.video_mme_v2,
)
_video_mme_v2_spoken = functools.partial(
    reasoning_videos.video_mme_v2, with_subtitles=True
)

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        # name, files, prompt, parser, longest answer
        _short(
            "nextqa",
            short_videos.nextqa,
            DIRECTLY,
            "marked last",
            size=8564,
            unparsed="random",
        ),
        _short(
            "perception_test",
            short_videos.perception_test,
            DIRECTLY,
            "letter word",
            size=19140,
        ),
        _short(
            "mvbench",
            short_videos.mvbench,
            ONLY_LETTER,
            "letter",
            32,
            size=4000,
        ),
        _short("tomato", short_videos.tomato, TOMATO, "closest", 32, size=1484),
        _short(
            "motionbench", short_videos.motion_bench, "{question}", "letter"
        ),
        _short(
            "tempcompass",
            short_videos.tempcompass,
            "{question}\n{request}",
            "letter mark",
            192,
            size=5536,
        ),
        _long(
            "video_mme",
            long_videos.video_mme,
            VIDEO_MME,
            "first of A-D",
            size=2700,
            unparsed="dropped",
        ),
        _long(
            "video_mme_subtitles",
            _video_mme_spoken,
            VIDEO_MME,
            "first of A-D",
            size=2700,
            unparsed="dropped",
        ),
        _long(
            "longvideobench",
            long_videos.long_video_bench,
            DIRECTLY,
            "first of A-E",
            size=1337,
            unparsed="random",
        ),
        _long(
            "longvideobench_subtitles",
            _long_video_bench_spoken,
            DIRECTLY,
            "first of A-E",
            size=1337,
            unparsed="random",
        ),
        _long("mlvu", long_videos.mlvu, DIRECTLY, "letter", size=2174),
        _long(
            "lvbench", long_videos.lvbench, ONLY_LETTER, "capital", size=1549
        ),
        _long(
            "video_eval_pro",
            long_videos.video_eval_pro,
            ONLY_LETTER,
            "letter",
            32,
            size=1289,
        ),
        _authors(
            "egoschema",
            long_videos.egoschema,
            DIRECTLY,
            "marked first",
            32,
            size=500,
            unparsed="random",
        ),
        _video_mme_v2("video_mme_v2", reasoning_videos.video_mme_v2),
        _video_mme_v2("video_mme_v2_subtitles", _video_mme_v2_spoken),
        _authors(
            "minerva",
            reasoning_videos.minerva,
            DIRECTLY,
            "last of A-E",
            32,
            size=1515,
            unparsed="random",
        ),
        _authors(
            "tvbench", reasoning_videos.tvbench, TVBENCH, "first mark", 100
        ),
        _authors(
            "vsi_bench",
            reasoning_videos.vsi_bench,
            VSI_BENCH,
            "first word",
            16,
            size=5130,
            figures=figures.vsi_bench,
        ),
        Benchmark("shapes", _shapes),
    )
}


def get_benchmark(name):
    """A `Benchmark` from its name or from the path of a table.

    Args:
        name: Str, a name in `BENCHMARKS` or the path of a table of videos,
            prompts and responses; or a `Benchmark`, which is returned.

    Raises:
        ValueError: If the name is unknown.
    """
    if isinstance(name, Benchmark):
        return name
    if str(name) in BENCHMARKS:
        return BENCHMARKS[str(name)]
    if as_path(name).suffix:
        return from_manifest(name)
    raise ValueError(
        "`benchmark` must be a `Benchmark`, a table of videos, prompts and "
        f"responses, or one of {', '.join(BENCHMARKS)}. Received: {name!r}."
    )
