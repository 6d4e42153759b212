"""The model card: the `README.md` in the directory of a preset."""

import os
import pathlib

from keras_stts.models import sizes
from keras_stts.presets import manifest as preset_manifest
from keras_stts.presets import saving as preset_saving
from keras_stts.pruning import serialize

MODEL_CARD = "README.md"
# Settings that the card lists, and what they mean.
SETTINGS = {
    "prune_ratio": "share of the blocks removed; 0 prunes nothing",
    "pruning": "what ranks the blocks",
    "prune_layer": "vision layer whose output is scored, from 0",
    "window": "side of a block in patches",
    "rescale_axis": "what scores are rescaled over",
    "rescale_min": "smallest rescaled score",
    "refill": "whether frames get pruned patches back in the vision encoder",
    "num_frames": "frames of a video",
}

TEMPLATE = """\
---
library_name: keras-hub
pipeline_tag: video-text-to-text
tags: [keras, keras-stts, token-pruning]
---

# {title}

A video language model of {params:,} parameters with spatio-temporal token
scoring (STTS, arXiv 2603.18004), for keras_stts:

```python
import keras_stts

model = keras_stts.VideoVLM.from_preset(
    "{title}", prune_ratio={prune_ratio}, num_frames={num_frames}
)
model.generate({{"videos": ["clip.mp4"], "prompts": ["What happens?"]}})
```

It was saved with these settings. All can be changed in `from_preset`. With
another method than STTS, the scorer's weights are not loaded.

| setting | value | |
|---|---|---|
{rows}

Of {num_frames} frames {kept:,} of {blocks:,} vision tokens reach the language
model.
"""


def model_card(model, title):
    """Text of the model card of a `VideoVLM`, with its pruning settings.

    Args:
        model: A `VideoVLM`.
        title: Str, the name of the preset.
    """
    backbone = model.backbone
    values = sizes.of_backbone(backbone)
    values["pruning"] = serialize(backbone.pruning)
    rows = [
        f"| `{name}` | `{values[name]!r}` | {meaning} |"
        for name, meaning in SETTINGS.items()
    ]
    num_frames = backbone.num_frames
    return TEMPLATE.format(
        title=title,
        params=model.count_params(),
        prune_ratio=backbone.prune_ratio,
        num_frames=num_frames,
        rows="\n".join(rows),
        kept=backbone.num_kept_blocks if num_frames else 0,
        blocks=backbone.num_blocks * num_frames,
    )


def write_model_card(model, part, folder):
    """Write the model card, unless one was written or changed by hand.

    Args:
        model: A `VideoVLM`.
        part: Path of the directory to write it to, which replaces files of
            `folder` afterwards.
        folder: Path of the preset.
    """
    folder = pathlib.Path(folder)
    there = folder / MODEL_CARD
    if there.exists():
        ours = preset_saving.listed(folder)["model_card"]
        if ours is None or preset_manifest.sha256(there) != ours:
            return
    title = pathlib.Path(os.path.abspath(folder)).name
    text = model_card(model, title)
    (pathlib.Path(part) / MODEL_CARD).write_text(text, encoding="utf-8")
