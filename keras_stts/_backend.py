"""Says what to install if Keras' backend is missing, or KerasHub too old."""

try:
    import keras
except ModuleNotFoundError as error:
    backend = (error.name or "").partition(".")[0]
    if backend not in ("jax", "tensorflow", "torch"):
        raise
    raise ModuleNotFoundError(
        "Keras needs the package of its backend. Received: backend "
        f"{backend!r} (from KERAS_BACKEND or ~/.keras/keras.json), which is "
        f"not installed. Run `pip install keras-stts[{backend}]`, or set "
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
        f"imported with Keras {keras.__version__} ({error}). Run `pip install "
        '-U keras-stts "keras<3.16"`, or update KerasHub.'
    ) from error
