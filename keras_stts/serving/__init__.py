"""A server of OpenAI's protocol: `python -m keras_stts serve`.

Its packages are an extra, `keras-stts[serve]`; `import keras_stts` does not
import them.
"""
