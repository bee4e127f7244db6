import numpy as np
from numpy.typing import NDArray

__all__ = ["endpoint_columns", "endpoint_slots"]

_Columns = tuple[
    NDArray[np.uint64],
    NDArray[np.uint32] | NDArray[np.uint8],
    NDArray[np.uint16],
    NDArray[np.uint32],
]

def endpoint_columns(width: int, addresses: list[bytes], ports: list[bytes]) -> _Columns: ...

def endpoint_slots(
    addresses: NDArray[np.uint8], ports: NDArray[np.uint16], offsets: NDArray[np.uint64]
) -> NDArray[np.uint32]: ...
