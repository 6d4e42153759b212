"""What a `VideoVLM` costs: operations, memory, and kernels of attention."""

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
        """Count the operations of the prefill of a row: one video, or several
        that share it.

        Args:
            num_frames: Int. Defaults to the model's.
            prune_ratio: Float. Defaults to the model's.
            text_length: Int. Defaults to the preprocessor's
                `sequence_length`, or 64 without preprocessor.
            layout: How attention on kept patches is counted. `"packed"`: as
                this package runs it, with frames padded to the length of
                their group. `"padded"`: with the lengths, too, that kernels
                of this backend and device pad to, see `attention_report`.
                `"ideal"`: without padding, as if all frames kept equally many
                patches.
            num_blocks: Optional int. Blocks of a frame, for a model whose
                frames differ in size (Qwen3-VL, where a frame is two of the
                video's). Defaults to the most that a frame can have.

        Returns:
            Dict of `"vision_encoder"` (the scorer included), `"scorer"`,
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
        """Say which kernel runs attention in which layers.

        Prefill and one step of decoding are traced, not run, with the current
        setting (`keras_stts.config.set_attention`), backend and device.
        Training runs the same kernels.

        Args:
            num_frames: Int. Defaults to the model's.
            batch_size: Int.
            prune_ratio: Float. Defaults to the model's.
            text_length: Int. Defaults to the preprocessor's
                `sequence_length`, or 64 without preprocessor.

        Returns:
            A list that prints as a table, with a dict for each set of layers
            that run alike:
            - `"part"`, of the model,
            - `"kind"`, what attends: `"frames"`, `"frames, score bias"`,
              `"packed"`, `"prefix"`, `"text"`, `"decode"` and others,
            - `"layers"`, their paths,
            - `"kernel"`,
            - `"runs"`, the calls of the kernel in one layer, several if there
              are several groups of packed frames: `rows`, `queries`, `keys`,
              and `run_queries` and `run_keys`, the lengths they are padded to,
            - `"reason"`, why another kernel runs than expected, or `None`.

        Raises:
            ValueError: If an argument has a value that is not allowed.

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
            num_frames: Int. Defaults to the model's; for a model with buckets
                (Qwen3-VL), to the frames of the largest bucket.
            batch_size: Int, of all chips together.
            prune_ratio: Float. Defaults to the model's.
            text_length: Int, tokens of the text part. Defaults to the
                preprocessor's `sequence_length`, or 64 without preprocessor.
            phase: `"fit"`, `"evaluate"`, `"prefill"`, `"decode"` or
                `"generate"` (prefill and decode).
            trainable: What is trained: `"all"`, `"none"`, `"lora"` (factors
                and scorer), a part (`"scorer"`, `"vision_encoder"`,
                `"connector"`, `"language_model"`) or a list of parts.
                Defaults to what is trainable now.
            optimizer: An optimizer, its name, or how many values it keeps
                for each trained weight. Defaults to the one that the model is
                compiled with, or to AdamW, which keeps 2. With
                `gradient_accumulation_steps` it keeps one more.
            dtype: Str or dtype policy, such as `"mixed_bfloat16"`. Defaults
                to the model's.
            quantization: Optional `"int8"` or `"int4"`, to count all weights
                but the scorer's as quantized.
            rematerialize: Bool. Defaults to the model's.
            chips: Int. How many devices there are; results are for each.
            distribution: What is cut over the chips: `"data"`, the rows of
                the batch; `"model"`, weights, heads and widths; `"fsdp"`, the
                rows, and the weights while they are not used.
            lora_rank: Int. Rank of LoRA factors, if the model has none yet.
            target_layer_names: Optional list of str, see `enable_lora`.
            device: `"gpu"` or `"tpu"`: compilers for them take different
                amounts. Defaults to the device of this machine, or a GPU.

        Returns:
            A dict of bytes that prints as a table: `"weights"`,
            `"gradients"`, `"optimizer"`, `"activations"` (what is kept for
            the backward pass, and temporary values), `"caches"`, `"logits"`
            and `"inputs"`, which add up to `"total"`; and the same total by
            part: `"vision_encoder"`, `"scorer"`, `"connector"`,
            `"language_model"` and `"head"`. `.table` has both, a dict of part
            to dict of kind to bytes.

        Raises:
            ValueError: If an argument has a value that is not allowed.

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
        """Count the memory of a model without loading it.

        Args:
            preset: Str as `from_preset` takes it; only its config is read. Or
                a dict of the arguments of `VideoVLMBackbone`.
            **kwargs: Arguments of `memory` and of `VideoVLMBackbone`.
                `trainable` defaults to `"all"`, `dtype` to Keras' default.

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
