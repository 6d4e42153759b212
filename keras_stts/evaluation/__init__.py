"""Benchmarks of questions about videos: asking, scoring, tables and plots."""

from keras_stts.evaluation import plots
from keras_stts.evaluation.benchmarks import BENCHMARKS
from keras_stts.evaluation.benchmarks import get_benchmark
from keras_stts.evaluation.parsers import PARSERS
from keras_stts.evaluation.questions import Benchmark
from keras_stts.evaluation.questions import Question
from keras_stts.evaluation.results import load_results
from keras_stts.evaluation.results import table
from keras_stts.evaluation.runner import evaluate

__all__ = [
    "BENCHMARKS",
    "PARSERS",
    "Benchmark",
    "Question",
    "evaluate",
    "get_benchmark",
    "load_results",
    "plots",
    "table",
]
