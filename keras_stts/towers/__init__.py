from keras_stts.towers.connector import Connector
from keras_stts.towers.siglip import SigLIPTower
from keras_stts.towers.vision_block import VisionBlock
from keras_stts.towers.vision_encoder import VisionEncoder
from keras_stts.towers.vision_tower import VisionTower

__all__ = [
    "Connector",
    "SigLIPTower",
    "VisionBlock",
    "VisionEncoder",
    "VisionTower",
]
