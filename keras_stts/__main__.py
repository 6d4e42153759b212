"""`python -m keras_stts`: commands."""

import sys

from keras_stts.serving.command import main

if __name__ == "__main__":
    sys.exit(main())
