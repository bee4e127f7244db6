import numpy as np
from numpy.typing import NDArray

__all__ = ["endpoint_slots"]

def endpoint_slots(
    addresses: NDArray[np.uint8], ports: NDArray[np.uint16], offsets: NDArray[np.uint64]
) -> NDArray[np.uint32]: ...
