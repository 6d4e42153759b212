"""A server of OpenAI's protocol: `python -m keras_stts serve`.

Its packages are an extra, `serve`; `import keras_stts` does not
import them.
"""
