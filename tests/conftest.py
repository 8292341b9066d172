"""Two logical CPU devices in every test process, so that a strategy can be tested in any order.

They can be made before TensorFlow starts and not after, whatever test comes first.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
