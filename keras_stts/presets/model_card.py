"""The model card: the `README.md` in the directory of a preset."""

import inspect
import os
import pathlib
import re

from huggingface_hub import EvalResult
from huggingface_hub import ModelCard
from huggingface_hub import ModelCardData

from keras_stts.models import sizes
from keras_stts.presets import manifest as preset_manifest
from keras_stts.presets import saving as preset_saving
from keras_stts.pruning import serialize
from keras_stts.version import __version__

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
# {title}

A video language model of {params:,} parameters, made with keras_stts
{version}. {methods}

| | |
|---|---|
| base model | {base_model} |
| licence | {license} |
| data | {datasets} |
| results | {results} |

## Load

In an environment with keras_stts:

```python
import keras_stts

model = keras_stts.VideoVLM.from_preset("{title}", prune_ratio={prune_ratio})
model.generate({{"videos": ["clip.mp4"], "prompts": ["What happens?"]}})
```

`"{title}"` is the folder of this file; on Hugging Face it is `"hf://"` and the
name of the repository.

## Settings

It was saved with these settings. All can be changed in `from_preset`. With
another method of pruning, the weights of this one are not loaded.

| setting | value | |
|---|---|---|
{rows}
{tokens}"""
TOKENS = """
Of {num_frames} frames {kept:,} of {blocks:,} vision tokens reach the language
model.
"""
NOT_STATED = "not stated"
HUB = "https://huggingface.co/"
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
# Of `huggingface_hub.ModelCardData`.
FACTS = set(inspect.signature(ModelCardData).parameters)
FACTS -= {"ignore_metadata_errors", "kwargs"}


def model_card(model, title, card=None):
    """The model card of a `VideoVLM`.

    Args:
        model: A `VideoVLM`.
        title: Str, the name of the preset.
        card: See `VideoVLM.save_to_preset`.

    Returns:
        A `huggingface_hub.ModelCard`.

    Raises:
        ValueError: If `card` has a key or a result that is none.
    """
    facts = _facts(model, title, card or {})
    base_model = facts["base_model"] or model.base_preset
    text = TEMPLATE.format(
        title=title,
        params=model.count_params(),
        version=__version__,
        base_model=_listed(base_model, HUB),
        license=_listed(facts.get("license_name") or facts.get("license")),
        datasets=_listed(facts.get("datasets"), f"{HUB}datasets/"),
        results=_results(facts["eval_results"]),
        prune_ratio=model.backbone.prune_ratio,
        **_settings(model.backbone),
    )
    ids = {name: _ids(facts.get(name)) for name in ("base_model", "datasets")}
    data = ModelCardData(**{**facts, **ids})
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")


def _facts(model, title, card):
    """Arguments of `huggingface_hub.ModelCardData`."""
    unknown = sorted(set(card) - FACTS)
    if unknown:
        raise ValueError(
            "`card` takes the arguments of huggingface_hub.ModelCardData. "
            f"Received: {', '.join(unknown)}. Known are: "
            f"{', '.join(sorted(FACTS))}."
        )
    base = model.base_preset or ""
    facts = {
        "base_model": base.removeprefix("hf://") if "hf://" in base else None,
        "library_name": "keras-hub",
        "pipeline_tag": "video-text-to-text",
        "tags": ["keras", "keras-stts", "token-pruning"],
        **card,
    }
    results = facts.get("eval_results") or []
    results = results if isinstance(results, (list, tuple)) else [results]
    facts["eval_results"] = [_eval_result(each) for each in results] or None
    if results:
        facts.setdefault("model_name", title)
    return facts


def _eval_result(result):
    """A result of `keras_stts.evaluate` as Hugging Face has them."""
    if isinstance(result, EvalResult):
        return result
    if not isinstance(result, dict) or result.get("accuracy") is None:
        raise ValueError(
            "A result in `card` must be what `keras_stts.evaluate` returned, "
            "with a question at least, or a huggingface_hub.EvalResult. "
            f"Received: {str(result)[:200]}."
        )
    low, high = (100 * bound for bound in result["interval"])
    return EvalResult(
        task_type="video-text-to-text",
        dataset_type=result["benchmark"],
        dataset_name=result["benchmark"],
        metric_type="accuracy",
        metric_name=(
            f"accuracy in %, {result['num_frames']} frames, "
            f"{result['prune_ratio']:.0%} pruned, {result['n']:,} questions, "
            f"95% interval {low:.1f} to {high:.1f}"
        ),
        metric_value=round(100 * result["accuracy"], 1),
    )


def _ids(names):
    """What can be the id of a repository; the hub takes no other names."""
    if isinstance(names, str):
        return names if HUB_ID.fullmatch(names) else None
    return [name for name in names or [] if HUB_ID.fullmatch(name)] or None


def _listed(names, address=None):
    """Names as Markdown; those of a hub as links below its address."""
    names = [names] if isinstance(names, str) else names or [NOT_STATED]
    return ", ".join(
        f"[{name}]({address}{name})"
        if address and "/" in name and HUB_ID.fullmatch(name)
        else name
        for name in names
    )


def _results(results):
    lines = [
        f"{each.dataset_name}: {each.metric_value} "
        f"({each.metric_name or each.metric_type})"
        for each in results or []
    ]
    return "<br>".join(lines) or NOT_STATED


def _settings(backbone):
    """Fields of `TEMPLATE` about pruning."""
    values = sizes.of_backbone(backbone)
    values["pruning"] = serialize(backbone.pruning)
    rows = [
        f"| `{name}` | `{values[name]!r}` | {meaning} |"
        for name, meaning in SETTINGS.items()
    ]
    num_frames = backbone.num_frames
    tokens = num_frames and TOKENS.format(
        num_frames=num_frames,
        kept=backbone.num_kept_blocks,
        blocks=backbone.num_blocks * num_frames,
    )
    return {
        "methods": _methods(backbone),
        "rows": "\n".join(rows),
        "tokens": tokens or "",
    }


def _methods(backbone):
    """A sentence of what prunes."""
    methods = map(serialize, (backbone.pruning, backbone.language_pruning))
    names = [
        f"`{name if isinstance(name, str) else name['class_name']}`"
        for name in methods
        if name is not None
    ]
    if not names:
        return "Nothing prunes its vision tokens."
    return f"What prunes its vision tokens is {' and '.join(names)}."


def write_model_card(model, part, folder, card=None):
    """Write the model card, unless one was written or changed by hand.

    Args:
        model: A `VideoVLM`.
        part: Path of the directory to write it to, which replaces files of
            `folder` afterwards.
        folder: Path of the preset.
        card: See `VideoVLM.save_to_preset`.
    """
    folder = pathlib.Path(folder)
    there = folder / MODEL_CARD
    if there.exists():
        ours = preset_saving.listed(folder)["model_card"]
        if ours is None or preset_manifest.sha256(there) != ours:
            return
    title = pathlib.Path(os.path.abspath(folder)).name
    text = str(model_card(model, title, card))
    (pathlib.Path(part) / MODEL_CARD).write_text(text, encoding="utf-8")
