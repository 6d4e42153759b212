"""The forward pass of a batch, from pixels to hidden states."""

import keras
from keras import ops

from keras_stts.language.language_model import Prefix
from keras_stts.language.language_model import Text
from keras_stts.ops import Frames
from keras_stts.ops.parts import join_parts
from keras_stts.ops.shown import at_placeholders
from keras_stts.ops.shown import without_padding
from keras_stts.ops.text import packed_text_places
from keras_stts.ops.text import text_places
from keras_stts.pruning.language_tokens import Shown


def frames_of(inputs):
    """The `keras_stts.ops.Frames` of a dict of a model's inputs."""
    names = ("frame_mask", "frame_segments", "frame_grids")
    return Frames(*(inputs.get(name) for name in names))


class Encoding:
    """See `VideoVLMBackbone`.

    Training, `predict`, `VideoVLM.prefill` and each step of decoding run these
    methods: `encode_vision`, then `encode` for whole sequences or `decode`
    for texts after a prefix. Both run the layers by `LanguageModel.run`.
    """

    def outputs_of(self, inputs):
        """The outputs of the model for a dict of inputs."""
        vision = self.encode_vision(inputs)
        outputs = {"hidden_states": self.encode(inputs, vision)[0]}
        if "selection" in vision:
            outputs["scores"] = vision["scores"]
            outputs["similarity"] = vision["similarity"]
            outputs["kept"] = vision["selection"].kept
        return outputs

    def symbols_of(self, inputs):
        """Symbolic outputs for a dict of symbolic inputs."""
        shape = (*inputs["token_ids"].shape, self.hidden_dim)
        dtype = self.language_model.compute_dtype
        outputs = {"hidden_states": keras.KerasTensor(shape, dtype)}
        if self.prunes_blocks:
            num_blocks = self.input_layout.num_blocks_of_frames
            shape = (*inputs["frame_mask"].shape, num_blocks)
            for name in ("scores", "similarity"):
                outputs[name] = keras.KerasTensor(shape, "float32")
            outputs["kept"] = keras.KerasTensor(shape, "bool")
        return outputs

    def encode_vision(self, inputs):
        """Embeddings of the videos and images in a dict of inputs.

        Returns:
            Dict for `encode_prefix`: what `encode_video` and `encode_images`
            return, together.
        """
        vision = {}
        if "videos" in inputs:
            vision = self.encode_video(inputs["videos"], frames_of(inputs))
        if "images" in inputs:
            vision |= self.encode_images(inputs)
        return vision

    def encode_images(self, inputs):
        """Embeddings of the tokens of images, for the language model.

        Args:
            inputs: Dict of the model's inputs.

        Returns:
            Dict of `"image_embeddings"` (B, M, hidden_dim) and
            `"num_image_tokens"`, int32 (B,).
        """
        patches, mask, count = self.vision_encoder.image_blocks(inputs)
        made = self._connected(patches, mask)
        vision = {f"image_{name}": value for name, value in made.items()}
        return {**vision, "num_image_tokens": count}

    def encode_video(self, videos, frames):
        """Embeddings of the blocks that are kept, for the language model.

        Args:
            videos: Uint8 tensor (B, T, H, W, 3).
            frames: `keras_stts.ops.Frames`, with a mask.

        Returns:
            Dict of what `keras_stts.towers.VisionTower` returns, with
            `"embeddings"` (B, K, hidden_dim) in place of `"features"`. If
            frames differ in size, `without_padding` adds its keys.
        """
        return self.join_parts([self.encode_part(videos, frames)], frames)

    def encode_part(self, videos, frames):
        """Embeddings of some frames of a video, for `join_parts`.

        Args:
            videos: Uint8 tensor (B, T, H, W, 3), some frames. Pruning takes
                them for a video: it keeps their first frame, and removes the
                share of the blocks from them.
            frames: `keras_stts.ops.Frames` of these, with a mask.
        """
        vision = self.vision_encoder(
            videos, frames=frames, pruning=self.pruning
        )
        return self._embedded(vision, frames)

    def join_parts(self, parts, frames):
        """What `encode_video` returns, of a video that was seen in parts.

        Args:
            parts: List of what `encode_part` returned, each of as many frames.
            frames: `keras_stts.ops.Frames` of all frames, with a mask.
        """
        vision = join_parts(parts)
        if frames.grids is None:
            return vision
        return without_padding(vision, frames)

    def connect(self, vision, frames):
        """Language model embeddings of what the vision encoder saw.

        Args:
            vision: The dict of `keras_stts.towers.VisionTower`.
            frames: `keras_stts.ops.Frames`, with a mask.

        Returns:
            Dict, see `encode_video`.
        """
        return self.join_parts([self._embedded(vision, frames)], frames)

    def _embedded(self, vision, frames):
        vision = dict(vision)
        vision |= self._connected(
            vision.pop("features"), vision.pop("patch_mask", None)
        )
        return self.pruning.after_connector(vision, frames)

    def _connected(self, patches, mask):
        """Dict of `"embeddings"`, and of `"additions"` if the connector makes
        embeddings that are added after the first layers."""
        made = self.connector(patches, patch_mask=mask)
        if not isinstance(made, (tuple, list)):
            return {"embeddings": made}
        embeddings, *additions = made
        return {"embeddings": embeddings, "additions": additions}

    def encode(self, inputs, vision=None):
        """Run the vision part and the text part of whole sequences.

        Args:
            inputs: Dict of the model's inputs.
            vision: Optional dict, what `encode_vision` returned.

        Returns:
            Tuple (hidden states (B, S', hidden_dim) of the text part, prefix,
            cache); prefix and cache are arguments of `decode`.
        """
        vision = self.encode_vision(inputs) if vision is None else vision
        prefix, seen = self._prefix(
            inputs["vision_token_ids"],
            inputs["vision_mask"],
            vision,
            inputs.get("vision_segments"),
            inputs.get("vision_positions"),
        )
        text = self._text(
            inputs["token_ids"],
            {**seen, "masks": [prefix.sequence.mask]},
            segments=inputs.get("text_segments"),
        )
        prune = self._pruning_of_tokens(inputs, vision)
        return self.language_model.run(text, prefix, seen, prune=prune)

    def encode_prefix(
        self, token_ids, mask, vision, segments=None, places=None
    ):
        """Run the vision part, for the keys and values of every layer.

        Args:
            token_ids: Int tensor (B, S).
            mask: Bool tensor (B, S), False for padding.
            vision: What `encode_vision` returned.
            segments: Optional int tensor (B, S), the sample of its row that
                each token belongs to.
            places: Optional int tensor (B, S, 3), positions in time, height
                and width.

        Returns:
            Dict of lists with one entry a layer: `"layers"`, tuples (key,
            value); `"masks"`, bool tensors (B, S'), True at real tokens;
            `"positions"`, int32 tensors (B, S'). Also of `"segments"`, an
            int32 tensor (B, S'), and of `"length"`, the position at which the
            text begins: an int32 tensor (B,), with `segments` (B, M).

        Raises:
            ValueError: If the model has `language_pruning`.
        """
        if self.language_pruning is not None:
            raise ValueError(
                "With `language_pruning` the prompt decides what of a video "
                "is kept, so the vision part cannot be run without it. Call "
                "`encode`."
            )
        prefix, seen = self._prefix(token_ids, mask, vision, segments, places)
        return self.language_model.run(prefix=prefix, seen=seen)[1]

    def decode(self, token_ids, prefix, cache=None, index=None, segments=None):
        """Run the text part after a prefix.

        Args:
            token_ids: Int tensor (B * R, S). R texts share a prefix; they are
                next to each other.
            prefix: Dict that `encode_prefix` or `encode` returned.
            cache: Optional list of (key, value) of a longer text, which
                `decode` returned. Keys and values of these tokens are
                written into it.
            index: Int scalar tensor. Place of the tokens in that text.
            segments: Optional int tensor (B, S), the sample of its row that
                each token belongs to. By default a row is one sample.

        Returns:
            Tuple (hidden states (B * R, S, hidden_dim), cache).
        """
        text = self._text(token_ids, prefix, cache, index, segments)
        if cache is not None:
            cache = cache, ops.convert_to_tensor(index, "int32")
        hidden, _, cache = self.language_model.run(
            text, seen=prefix, cache=cache
        )
        return hidden, cache

    def _prefix(self, token_ids, mask, vision, segments=None, places=None):
        """Tuple (`Prefix`, dict of its segments and length) of a vision part,
        before the first layer."""
        format = self.sequence_format
        sequence, length = format.vision_part(
            token_ids, mask, vision, segments, places
        )
        x = self.token_embedding(sequence.token_ids)
        is_shown = format.is_shown(sequence)
        spread = [
            at_placeholders(each, sequence, is_shown) for each in _shown(vision)
        ]
        if spread and getattr(self.connector, "replaces_embeddings", False):
            x = ops.where(is_shown[..., None], spread[0], x)
        elif spread:
            x = x + spread[0]
        reach = format.reach(sequence, packed=segments is not None)
        seen = {"segments": sequence.segments, "length": length}
        return Prefix(x, sequence, reach, spread[1:]), seen

    def _text(self, token_ids, prefix, cache=None, index=None, segments=None):
        """`Text` of a text part, before the first layer."""
        start, seen = prefix["length"], None
        if segments is not None:
            positions, mask, seen = packed_text_places(
                token_ids,
                start,
                segments,
                prefix["segments"],
                prefix["masks"][0],
            )
        else:
            positions, mask = text_places(
                token_ids,
                start if self.num_segments == 1 else start[:, 0],
                index=0 if index is None else index,
                length=None if cache is None else cache[0][0].shape[1],
            )
        x = self.token_embedding(token_ids)
        return Text(x, positions, mask, seen)

    def _pruning_of_tokens(self, inputs, vision):
        """Dict of a layer's number to the function that prunes after it, or
        `None` if nothing prunes inside the language model."""
        if self.language_pruning is None:
            return None
        selection, index = vision.get("selection"), vision.get("order")
        shown = Shown(
            vision["embeddings"].shape[1],
            index if selection is None else selection.index,
        )
        if index is not None:
            frames = frames_of(inputs)
            number = index.shape[1] // frames.mask.shape[1]
            shown = shown._replace(grids=frames.grids, num_blocks=number)
        return self.language_pruning.after_layers(
            shown, self.sequence_format, inputs["prompt_mask"]
        )


def _shown(vision):
    """List of embeddings (B, M + K, D) of images and blocks, and of what is
    added to them after each of the first layers."""
    parts = [
        [vision[f"{of}embeddings"], *vision.get(f"{of}additions", ())]
        for of in ("image_", "")
        if f"{of}embeddings" in vision
    ]
    return [ops.concatenate(each, axis=1) for each in zip(*parts)]
