from keras_stts.towers.connector import Connector
from keras_stts.towers.qwen3_vl import Qwen3VLVisionEncoder
from keras_stts.towers.qwen3_vl_connector import Qwen3VLConnector
from keras_stts.towers.siglip import SigLIPTower
from keras_stts.towers.tower_block import TowerBlock
from keras_stts.towers.vision_block import VisionBlock
from keras_stts.towers.vision_encoder import VisionEncoder
from keras_stts.towers.vision_tower import VisionTower

__all__ = [
    "Connector",
    "Qwen3VLConnector",
    "Qwen3VLVisionEncoder",
    "SigLIPTower",
    "TowerBlock",
    "VisionBlock",
    "VisionEncoder",
    "VisionTower",
]
