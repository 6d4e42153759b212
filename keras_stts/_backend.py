"""Says what to install if the package of Keras' backend is missing."""

try:
    import keras  # noqa: F401
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
