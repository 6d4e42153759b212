"""`python -m keras_stts.data`: checks tables of videos, and packs them."""

import argparse
import sys

from keras_stts.data.manifest import read_manifest
from keras_stts.data.paths import as_path
from keras_stts.data.records import WRITERS
from keras_stts.data.sampling import RULES
from keras_stts.data.shards import LEFT_OUT
from keras_stts.data.shards import POLICIES
from keras_stts.data.shards import write_shards
from keras_stts.data.validation import environment
from keras_stts.data.validation import validate
from keras_stts.data.validation.report import summary


def main(arguments=None):
    """Run a command; returns the exit status of the process."""
    options = vars(_parser().parse_args(arguments))
    run = COMMANDS[options.pop("command")]
    try:
        return run(options)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2


def _install(options):
    print(environment.install())
    return 0


def _validate(options):
    options["columns"] = dict(options["columns"] or {})
    runner = options.pop("runner")
    if runner is not None:
        chosen = [f"--runner={runner}"]
        options["pipeline_options"] = chosen + options["pipeline_options"]
    try:
        result = validate(**options)
    except KeyboardInterrupt:
        kept = f"{options['output']}/facts.jsonl"
        print(
            f"Interrupted. The measurements are kept in {kept}; run the same "
            "command again to continue from there.",
            file=sys.stderr,
        )
        return 130
    print(summary(result))
    return 1 if result.anomalies else 0


def _shard(options):
    options["columns"] = dict(options["columns"] or {})
    options["converter"] = _converter(options)
    table = write_shards(**options)
    count = len(read_manifest(table))
    shards = as_path(options["output"]).glob("shard-*")
    print(f"{count} rows, {len(list(shards))} shards: {table}")
    left_out = table.with_name(LEFT_OUT)
    if not left_out.exists():
        return 0
    print(f"Some rows were left out: {left_out}")
    return 1


def _converter(options):
    """The video converter that the options ask for, or `None`."""
    names = ("num_frames", "max_fps", "sampling", "image_size")
    given = {name: options.pop(name) for name in names}
    given = {n: value for n, value in given.items() if value is not None}
    preset = options.pop("preset")
    if preset is None and not given:
        return None
    # These know models.
    from keras_stts.preprocessing.video_vlm_video_converter import (
        VideoVLMVideoConverter,
    )
    from keras_stts.presets.load_task import preprocessor_class
    from keras_stts.presets.preset_mixin import argument_names
    from keras_stts.presets.preset_mixin import resolve_preset

    if preset is not None:
        cls = preprocessor_class(resolve_preset(preset)).video_converter_cls
        unknown = sorted(set(given) - argument_names(cls))
        if unknown:
            raise ValueError(
                f"A {cls.__name__}, that of the preset, has rules of its own. "
                f"Received: {', '.join(unknown)} beside --preset {preset}. "
                "Leave them out."
            )
        return cls.from_preset(preset, **given)
    if not {"num_frames", "image_size"} <= set(given):
        raise ValueError(
            "Frames are chosen and resized by --preset, or by --num-frames and "
            f"--image-size. Received: {', '.join(given)}. Pass both, or none "
            "to keep the video files."
        )
    return VideoVLMVideoConverter(**given)


COMMANDS = {
    "install-validation": _install,
    "validate": _validate,
    "shard": _shard,
}


def _parser():
    parser = argparse.ArgumentParser(
        "python -m keras_stts.data",
        description="Check tables of videos, and pack them.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "install-validation",
        help="install TensorFlow Data Validation in an environment of its own",
    )
    _add_shard(commands)
    add = commands.add_parser(
        "validate",
        help="check a table; exits with 1 if there are anomalies, with 2 if "
        "it could not be checked",
    ).add_argument
    _add_table(add)
    add("--against", help="a second table, which should be like it")
    add("--schema", help="a schema.pbtxt; inferred by default")
    add("--output", default="validation", help="folder for the results")
    add("--max-drift", type=float, default=0.1, help="for numbers, 0 to 1")
    add("--max-skew", type=float, default=0.1, help="for words, 0 to 1")
    add(
        "--num-workers",
        type=int,
        default=2,
        help="measuring processes of each of Beam's workers",
    )
    add("--time-limit", type=float, default=60.0, help="seconds a video")
    add("--runner", help="Apache Beam's runner: FlinkRunner, SparkRunner, ...")
    add(
        "--pipeline-option",
        dest="pipeline_options",
        action="append",
        default=[],
        metavar="OPTION",
        help="an option of Beam: --pipeline-option=--direct_num_workers=4",
    )
    return parser


def _add_shard(commands):
    add = commands.add_parser(
        "shard",
        help="put the videos of a table into few large files; exits with 1 if "
        "rows were left out, with 2 if it could not be done",
    ).add_argument
    _add_table(add)
    add("output", help="a new folder, or an address")
    add(
        "--format",
        choices=list(WRITERS),
        help="array_record if it is installed, else tfrecord",
    )
    add(
        "--shard-bytes",
        type=int,
        default=2**30,
        help="largest size of a shard that holds several videos",
    )
    add("--on-error", choices=POLICIES, default="raise")
    add("--num-workers", type=int, default=2, help="processes that decode")
    add("--time-limit", type=float, default=60.0, help="seconds a video")
    add("--preset", help="keep the frames that this model samples")
    add("--num-frames", type=int, help="most frames to keep of each video")
    add("--image-size", type=int, help="height and width of kept frames")
    add("--max-fps", type=float, help="most frames to keep of each second")
    add("--sampling", choices=list(RULES), help="rule that chooses the frames")


def _add_table(add):
    add("manifest", help="a table of videos, questions and answers")
    add("--folder", help="folder that the paths of videos are relative to")
    add(
        "--column",
        dest="columns",
        type=_column,
        action="append",
        metavar="ROLE=NAME",
        help="name of the column of video, prompt or response",
    )


def _column(text):
    role, equals, name = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(
            f"must be ROLE=NAME, such as video=path. Received: {text}"
        )
    return role, name


if __name__ == "__main__":
    sys.exit(main())
