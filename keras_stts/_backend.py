"""Says what to install if Keras' backend is missing, or KerasHub too old."""

from keras_stts._install import how_to_install

try:
    import keras
except ModuleNotFoundError as error:
    backend = (error.name or "").partition(".")[0]
    if backend not in ("jax", "tensorflow", "torch"):
        raise
    raise ModuleNotFoundError(
        "Keras needs the package of its backend. Received: backend "
        f"{backend!r} (from KERAS_BACKEND or ~/.keras/keras.json), which is "
        f"not installed. {how_to_install(backend)}, or set "
        "KERAS_BACKEND to one of jax, tensorflow, torch that is.",
        name=backend,
    ) from None

try:
    import keras_hub  # noqa: F401
except ModuleNotFoundError:
    raise
except ImportError as error:  # It uses private parts of Keras.
    raise ImportError(
        "KerasHub must know its Keras. Received: a KerasHub that cannot be "
        f"imported with Keras {keras.__version__} ({error}). "
        f"{how_to_install(keras.config.backend())}, or update KerasHub."
    ) from error
