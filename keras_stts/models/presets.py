"""Built-in presets: data only."""

PRESETS = {
    "shapes_tiny": {
        "metadata": {
            "description": (
                "A tiny video language model, trained on "
                "`keras_stts.datasets.shapes`. Ships with the package."
            ),
            "params": 859281,
        },
        "handle": "assets/shapes_tiny",
    },
}
