"""What a `VideoVLM` costs: operations, memory, kernels."""

from keras_stts.flops import count_flops
from keras_stts.memory import asking as memory
from keras_stts.models import attention_trace


class Counting:
    """See `VideoVLM`."""

    def flops(
        self,
        num_frames=None,
        prune_ratio=None,
        text_length=None,
        layout="packed",
        num_blocks=None,
    ):
        """Count the operations of one video's prefill, or of a row of several.

        Args:
            num_frames: Int. Defaults to the model's.
            prune_ratio: Float. Defaults to the model's.
            text_length: Int. Defaults to the preprocessor's
                `sequence_length`, or 64 without preprocessor.
            layout: `"packed"`, what this package runs, frames padded to
                groups; `"padded"`, the same with the lengths that kernels of
                this backend and device pad to, see `attention_report`; or
                `"ideal"`, a kernel without padding on frames that keep
                equally many patches.
            num_blocks: Optional int. Blocks of a frame, of a model whose
                frames differ in size (Qwen3-VL, of which a frame is two of
                the video's). Defaults to the most.

        Returns:
            Dict of `"vision_encoder"`, `"scorer"` (counted in it too),
            `"connector"`, `"language_model"` and `"total"`, numbers of
            floating point operations. A train step costs three times that.

        Example:
        ```python
        model = keras_stts.VideoVLM.from_preset("shapes_tiny")
        whole = model.flops(prune_ratio=0)["total"]
        whole / model.flops(prune_ratio=0.5)["total"]  # 1.4 or so.
        ```
        """
        preprocessor, added = self.preprocessor, None
        if text_length is None:
            text_length = preprocessor.sequence_length if preprocessor else 64
        if layout == "padded":
            added = attention_trace.padding_flops(
                self, num_frames, prune_ratio, text_length
            )
        return count_flops(
            self.backbone,
            num_frames,
            prune_ratio,
            text_length,
            num_blocks=num_blocks,
            time_tokens=preprocessor.time_tokens if preprocessor else 8,
            layout=layout,
            padding=added,
        )

    def attention_report(
        self, num_frames=None, batch_size=1, prune_ratio=None, text_length=None
    ):
        """Say which kernel runs attention in which layers, without running.

        The model is traced with the settings of now
        (`keras_stts.config.set_attention`), backend and device: prefill and
        one step of decoding. Training runs the same kernels.

        Args:
            num_frames: Int. Defaults to the model's.
            batch_size: Int.
            prune_ratio: Float. Defaults to the model's.
            text_length: Int. Defaults to the preprocessor's
                `sequence_length`, or 64 without preprocessor.

        Returns:
            A list that prints as a table, of a dict for layers that run
            alike: `"part"`, `"kind"` (`"frames"`, `"frames, score bias"`,
            `"packed"`, `"prefix"`, `"text"`, `"decode"` and others),
            `"layers"` (paths), `"kernel"`, `"runs"` (of a layer: `rows`,
            `queries`, `keys`, and the lengths `run_queries` and `run_keys`
            that these are padded to; one a group of packed frames) and
            `"reason"`, why another kernel runs than was to be expected, or
            `None`.

        Raises:
            ValueError: If an argument is none of these.

        Example:
        ```python
        model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
        print(model.attention_report(num_frames=64))
        ```
        """
        return attention_trace.report_of(
            self, num_frames, batch_size, prune_ratio, text_length
        )

    def memory(
        self,
        num_frames=None,
        batch_size=1,
        prune_ratio=None,
        text_length=None,
        *,
        phase="fit",
        trainable=None,
        optimizer=None,
        dtype=None,
        quantization=None,
        rematerialize=None,
        chips=1,
        distribution="data",
        lora_rank=8,
        target_layer_names=None,
        device=None,
    ):
        """Count the memory that a batch takes, without running anything.

        Args:
            num_frames: Int. Defaults to the model's; of a model with buckets
                (Qwen3-VL), to those of the largest one.
            batch_size: Int, of all chips together.
            prune_ratio: Float. Defaults to the model's.
            text_length: Int, tokens of the text part. Defaults to the
                preprocessor's `sequence_length`, or 64 without preprocessor.
            phase: `"fit"`, `"evaluate"`, `"prefill"`, `"decode"` or
                `"generate"` (both of these).
            trainable: What is trained: `"all"`, `"none"`, `"lora"` (factors
                and scorer), a part (`"scorer"`, `"vision_encoder"`,
                `"connector"`, `"language_model"`) or a list of parts.
                Defaults to what is trainable now.
            optimizer: An optimizer, its name, or how many values it keeps
                for each weight that is trained. Defaults to the compiled
                one, or AdamW, which keeps 2. With
                `gradient_accumulation_steps` it keeps one more.
            dtype: Str or dtype policy, such as `"mixed_bfloat16"`. Defaults
                to the model's.
            quantization: Optional `"int8"` or `"int4"`: what all weights but
                the scorer's would be quantized to.
            rematerialize: Bool. Defaults to the model's.
            chips: Int. The figures are those of each.
            distribution: What chips share: `"data"` (rows of the batch),
                `"model"` (weights, heads and widths) or `"fsdp"` (rows, and
                weights while they are not used).
            lora_rank: Int. Rank of factors that are not there yet.
            target_layer_names: Optional list of str, see `enable_lora`.
            device: `"gpu"` or `"tpu"`, whose compiler is asked about.
                Defaults to what is here, a GPU if there is none.

        Returns:
            A dict of bytes that prints as a table: `"weights"`,
            `"gradients"`, `"optimizer"`, `"activations"` (what the backward
            pass needs, and room to work), `"caches"`, `"logits"` and
            `"inputs"`, which make `"total"`; and of the same total by part,
            `"vision_encoder"`, `"scorer"`, `"connector"`, `"language_model"`
            and `"head"`. `.table` has both: part to kind to bytes.

        Raises:
            ValueError: If an argument is none of these.

        Example:
        ```python
        model = keras_stts.VideoVLM.from_preset("shapes_tiny")
        print(model.memory(num_frames=64, batch_size=8))
        model.memory(trainable="lora", rematerialize=True)["total"]
        ```
        """
        return memory.of_model(
            self,
            num_frames=num_frames,
            batch_size=batch_size,
            prune_ratio=prune_ratio,
            text_length=text_length,
            phase=phase,
            trainable=trainable,
            optimizer=optimizer,
            dtype=dtype,
            quantization=quantization,
            rematerialize=rematerialize,
            chips=chips,
            distribution=distribution,
            lora_rank=lora_rank,
            target_layer_names=target_layer_names,
            device=device,
        )

    @classmethod
    def memory_of(cls, preset, **kwargs):
        """Count the memory of a model that is not loaded.

        Args:
            preset: Str as `from_preset` takes it, of which the config alone
                is read; or a dict of the arguments of `VideoVLMBackbone`.
            **kwargs: Those of `memory`, and of `VideoVLMBackbone`. What is
                trained defaults to `"all"`, `dtype` to Keras' default.

        Returns:
            See `memory`.

        Example:
        ```python
        print(
            keras_stts.VideoVLM.memory_of(
                "shapes_tiny", trainable="scorer", dtype="bfloat16"
            )
        )
        ```
        """
        return memory.of_preset(preset, **kwargs)
