"""`python -m keras_tag` is the command `keras-tag`."""

import sys

from keras_tag.command.main import main

sys.exit(main())
