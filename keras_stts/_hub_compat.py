"""All that this package takes from private modules of KerasHub and Keras."""

from keras.src.backend.common import global_state
from keras.src.saving import saving_lib
from keras_hub.src.utils.preset_utils import CONFIG_FILE
from keras_hub.src.utils.preset_utils import PREPROCESSOR_CONFIG_FILE
from keras_hub.src.utils.preset_utils import TASK_CONFIG_FILE
from keras_hub.src.utils.preset_utils import TASK_WEIGHTS_FILE
from keras_hub.src.utils.preset_utils import TOKENIZER_CONFIG_FILE
from keras_hub.src.utils.preset_utils import check_file_exists
from keras_hub.src.utils.preset_utils import get_file
from keras_hub.src.utils.preset_utils import load_json
from keras_hub.src.utils.tensor_utils import any_equal

__all__ = [
    "CONFIG_FILE",
    "PREPROCESSOR_CONFIG_FILE",
    "TASK_CONFIG_FILE",
    "TASK_WEIGHTS_FILE",
    "TOKENIZER_CONFIG_FILE",
    "any_equal",
    "check_file_exists",
    "get_file",
    "global_state",
    "load_json",
    "saving_lib",
]
