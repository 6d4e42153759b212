"""`python -m keras_stts.data`: checks tables of videos."""

import argparse
import sys

from keras_stts.data.validation import environment
from keras_stts.data.validation import validate
from keras_stts.data.validation.report import summary


def main(arguments=None):
    """Returns what the process is to exit with."""
    options = vars(_parser().parse_args(arguments))
    if options.pop("command") == "install-validation":
        print(environment.install())
        return 0
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
            f"Interrupted. What was measured is kept in {kept}; the same "
            "command goes on from there.",
            file=sys.stderr,
        )
        return 130
    except (OSError, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(summary(result))
    return 1 if result.anomalies else 0


def _parser():
    parser = argparse.ArgumentParser(
        "python -m keras_stts.data", description="Check tables of videos."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "install-validation",
        help="put TensorFlow Data Validation into an environment of its own",
    )
    add = commands.add_parser(
        "validate",
        help="check a table; exits with 1 if there are anomalies, with 2 if "
        "it could not be checked",
    ).add_argument
    add("manifest", help="a table of videos, questions and answers")
    add("--against", help="a second table, which should be like it")
    add("--schema", help="a schema.pbtxt; inferred by default")
    add("--output", default="validation", help="folder for what is found")
    add("--folder", help="what the paths of videos are relative to")
    add(
        "--column",
        dest="columns",
        type=_column,
        action="append",
        metavar="ROLE=NAME",
        help="name of the column of video, prompt or response",
    )
    add("--max-drift", type=float, default=0.1, help="for numbers, 0 to 1")
    add("--max-skew", type=float, default=0.1, help="for words, 0 to 1")
    add(
        "--num-workers",
        type=int,
        default=2,
        help="processes that measure, of each of Beam's workers",
    )
    add("--time-limit", type=float, default=60.0, help="seconds a video")
    add("--runner", help="of Apache Beam: FlinkRunner, SparkRunner, ...")
    add(
        "--pipeline-option",
        dest="pipeline_options",
        action="append",
        default=[],
        metavar="OPTION",
        help="one of Apache Beam's: --pipeline-option=--direct_num_workers=4",
    )
    return parser


def _column(text):
    role, equals, name = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(
            f"must be ROLE=NAME, video=path, say. Received: {text}"
        )
    return role, name


if __name__ == "__main__":
    sys.exit(main())
