from keras_stts.datasets import shapes as shapes
