"""The public surface, pinned: a change here is a change for users."""

import keras_stts


def test_public_names():
    assert keras_stts.__all__ == [
        "VideoVLM",
        "VideoVLMBackbone",
        "VideoVLMPreprocessor",
        "VideoVLMTokenizer",
        "VideoVLMVideoConverter",
        "__version__",
        "benchmark",
        "data",
        "datasets",
        "layers",
        "ops",
        "visualize",
    ]
    assert keras_stts.layers.__all__ == [
        "AuxiliaryLoss",
        "RaggedPacking",
        "ScoreBias",
        "ScorerMLP",
        "TokenPooler",
        "TokenPruning",
        "TokenScorer",
    ]
    for module in (keras_stts, keras_stts.layers, keras_stts.ops):
        assert all(hasattr(module, name) for name in module.__all__)
