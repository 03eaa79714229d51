"""Which arrays does a signature speak of?"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]  # counts
Places = NDArray[np.intp]  # where something stands in an array
